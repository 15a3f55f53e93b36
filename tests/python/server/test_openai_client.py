"""The `openai` client against a real server: its answers are `Generator`'s own, bit for bit."""

from __future__ import annotations

import asyncio
from typing import Any

import openai
import pytest
from serving import Serving

from skywork_rt import Generator, SamplingParams

pytestmark = pytest.mark.slow

PROMPT = "Once upon a time"
MESSAGES: Any = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Tell me a story."}]
SAMPLED: dict[str, Any] = {"temperature": 0.8, "top_p": 0.9, "seed": 7, "max_tokens": 12}


def test_models_are_listed_and_found(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["tiny"]
    assert client.models.retrieve("tiny").object == "model"
    with pytest.raises(openai.NotFoundError, match="this server has tiny"):
        client.models.retrieve("other")


def test_a_completion_is_what_generate_gives(client: openai.OpenAI, tiny: Generator) -> None:
    answer = client.completions.create(model="tiny", prompt=PROMPT, logprobs=2, n=2, **SAMPLED)
    wanted = tiny.generate(PROMPT, tiny.default_params.replace(logprobs=2, n=2, **SAMPLED))
    assert [choice.text for choice in answer.choices] == [output.text for output in wanted.outputs]
    for choice, output in zip(answer.choices, wanted.outputs, strict=True):
        assert choice.finish_reason == output.finish_reason
        assert choice.logprobs is not None and output.logprobs is not None
        rows = zip(output.token_ids, output.logprobs, strict=True)
        assert choice.logprobs.token_logprobs == [row[token].logprob for token, row in rows]
        lengths = [len(token) for token in choice.logprobs.tokens or ()]
        assert choice.logprobs.text_offset == [sum(lengths[:i]) for i in range(len(lengths))]
    usage = answer.usage
    assert usage is not None
    assert usage.prompt_tokens == len(wanted.prompt_token_ids)
    assert usage.completion_tokens == wanted.timings.tokens
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens


def test_a_streamed_completion_is_the_whole_one_in_pieces(client: openai.OpenAI, tiny: Generator) -> None:
    stream = client.completions.create(
        model="tiny", prompt=[PROMPT, "The sea"], stream=True, n=2, logprobs=1, **SAMPLED,
        stream_options={"include_usage": True},
    )  # fmt: skip
    texts, reasons, logprobs, usage = [""] * 4, [""] * 4, [[] for _ in range(4)], None
    offsets: list[list[int]] = [[] for _ in range(4)]
    for chunk in stream:
        if not chunk.choices:
            usage = chunk.usage
            continue
        (choice,) = chunk.choices
        texts[choice.index] += choice.text
        reasons[choice.index] = choice.finish_reason or reasons[choice.index]
        assert choice.logprobs is not None
        logprobs[choice.index] += choice.logprobs.token_logprobs or []
        offsets[choice.index] += choice.logprobs.text_offset or []
    wanted = tiny.generate([PROMPT, "The sea"], tiny.default_params.replace(n=2, logprobs=1, **SAMPLED))
    outputs = [output for result in wanted for output in result.outputs]
    assert texts == [output.text for output in outputs]
    assert reasons == [output.finish_reason for output in outputs]
    assert logprobs == [
        [row[token].logprob for token, row in zip(output.token_ids, output.logprobs or (), strict=True)]
        for output in outputs
    ]
    assert all(each == sorted(each) and each[0] == 0 for each in offsets)
    assert usage is not None
    assert usage.completion_tokens == sum(result.timings.tokens for result in wanted)


def test_prompts_may_be_texts_ids_and_lists_of_either(client: openai.OpenAI, tiny: Generator) -> None:
    ids, other = tiny.encode(PROMPT), tiny.encode("The sea")
    params = tiny.default_params.replace(temperature=0, max_tokens=4)
    wanted = [result.text for result in tiny.generate([PROMPT, "The sea"], params)]
    prompts: list[tuple[Any, int]] = [(PROMPT, 1), (ids, 1), ([PROMPT, "The sea"], 2), ([ids, other], 2)]
    for prompt, count in prompts:
        answer = client.completions.create(model="tiny", prompt=prompt, temperature=0, max_tokens=4)
        assert [choice.text for choice in answer.choices] == wanted[:count]


def test_echo_gives_the_prompt_with_its_log_probabilities(client: openai.OpenAI, tiny: Generator) -> None:
    wanted = tiny.generate(PROMPT, SamplingParams(max_tokens=1, temperature=0, prompt_logprobs=1, logprobs=1))
    assert wanted.prompt_logprobs is not None and wanted.logprobs is not None
    of_prompt = [
        None if row is None else row[token].logprob
        for token, row in zip(wanted.prompt_token_ids, wanted.prompt_logprobs, strict=True)
    ]
    for most in (0, 1):
        answer = client.completions.create(
            model="tiny", prompt=PROMPT, max_tokens=most, temperature=0, echo=True, logprobs=1
        )
        (choice,) = answer.choices
        assert choice.logprobs is not None
        made = [wanted.logprobs[0][wanted.token_ids[0]].logprob]
        assert choice.logprobs.token_logprobs == of_prompt + made[:most]
        assert choice.text == PROMPT + (wanted.text if most else "")
        assert PROMPT in "".join(choice.logprobs.tokens or ())
        assert answer.usage is not None
        assert answer.usage.completion_tokens == most


def test_best_of_gives_the_likeliest(client: openai.OpenAI, tiny: Generator) -> None:
    answer = client.completions.create(model="tiny", prompt=PROMPT, n=2, best_of=5, **SAMPLED)
    wanted = tiny.generate(PROMPT, tiny.default_params.replace(n=5, logprobs=0, **SAMPLED))
    best = sorted(wanted.outputs, key=lambda o: (o.cumulative_logprob or 0) / len(o.token_ids), reverse=True)
    assert [choice.text for choice in answer.choices] == [output.text for output in best[:2]]
    assert [choice.index for choice in answer.choices] == [0, 1]


def test_a_chat_is_what_chat_gives(client: openai.OpenAI, tiny: Generator) -> None:
    answer = client.chat.completions.create(
        model="tiny", messages=MESSAGES, logprobs=True, top_logprobs=3, n=2, **SAMPLED
    )
    wanted = tiny.chat(MESSAGES, tiny.default_params.replace(logprobs=3, n=2, **SAMPLED))
    for choice, output in zip(answer.choices, wanted.outputs, strict=True):
        assert choice.message.content == output.text
        assert choice.message.role == "assistant"
        assert choice.logprobs is not None and choice.logprobs.content is not None and output.logprobs is not None
        for entry, token, row in zip(choice.logprobs.content, output.token_ids, output.logprobs, strict=True):
            assert entry.logprob == row[token].logprob
            assert [top.logprob for top in entry.top_logprobs] == sorted(
                (each.logprob for each in row.values() if each.rank <= 3), reverse=True
            )
        content = b"".join(bytes(entry.bytes or ()) for entry in choice.logprobs.content)
        assert content.decode("utf-8", "replace").startswith(output.text[:1])


def test_named_ids_are_shown_whatever_their_rank(client: openai.OpenAI, tiny: Generator) -> None:
    """In every kind of answer, with few of the best tokens, and where nothing else asks for log-probabilities."""
    assert tiny.tokenizer is not None
    ids = [tiny.encode(letter, add_special_tokens=False)[-1] for letter in "ABCD"]
    body = {"logprob_token_ids": ids}
    options = {"max_tokens": 2, "temperature": 0}
    wanted = tiny.generate(PROMPT, SamplingParams(logprobs=1, logprob_token_ids=ids, **options)).logprobs
    assert wanted is not None and all(row[token].rank > 1 for row in wanted[:1] for token in ids), "or it shows nothing"
    for top in (1, None):
        for stream in (False, True):
            made = client.completions.create(
                model="tiny", prompt=PROMPT, logprobs=top, stream=stream, extra_body=body, **options
            )
            choices = [chunk.choices[0] for chunk in made] if stream else made.choices
            shown = [row for choice in choices if choice.logprobs for row in choice.logprobs.top_logprobs or ()]
            assert [[row[letter] for letter in "ABCD"] for row in shown] == [
                [row[token].logprob for token in ids] for row in wanted
            ]
    said = tiny.chat(MESSAGES, SamplingParams(logprobs=2, logprob_token_ids=ids, **options)).logprobs
    assert said is not None
    for more in ({"logprobs": True, "top_logprobs": 2}, {}):
        chat = client.chat.completions.create(model="tiny", messages=MESSAGES, extra_body=body, **options, **more)
        content = chat.choices[0].logprobs and chat.choices[0].logprobs.content
        assert content and [[(top.token, top.logprob) for top in entry.top_logprobs] for entry in content] == [
            [
                (tiny.decode([token]), entry.logprob)
                for token, entry in sorted(row.items(), key=lambda item: item[1].rank)
                if entry.rank <= more.get("top_logprobs", 0) or token in ids
            ]
            for row in said
        ]


def test_a_streamed_chat_begins_with_its_role_and_ends_with_its_usage(client: openai.OpenAI, tiny: Generator) -> None:
    stream = client.chat.completions.create(
        model="tiny", messages=MESSAGES, stream=True, stream_options={"include_usage": True}, n=2, **SAMPLED
    )
    chunks = list(stream)
    assert [chunk.choices[0].delta.role for chunk in chunks if chunk.choices and chunk.choices[0].delta.role] == [
        "assistant",
        "assistant",
    ]
    texts = ["", ""]
    for chunk in chunks[:-1]:
        texts[chunk.choices[0].index] += chunk.choices[0].delta.content or ""
    wanted = tiny.chat(MESSAGES, tiny.default_params.replace(n=2, **SAMPLED))
    assert texts == [output.text for output in wanted.outputs]
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == wanted.timings.tokens


def test_continuous_usage_counts_up(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model="tiny", messages=MESSAGES, stream=True, max_tokens=6, temperature=0,
        stream_options={"include_usage": True, "continuous_usage_stats": True},  # type: ignore[typeddict-unknown-key]
        extra_body={"ignore_eos": True},
    )  # fmt: skip
    counts = [chunk.usage.completion_tokens for chunk in stream if chunk.usage]
    assert counts == sorted(counts)
    assert counts[-1] == 6


def test_stop_ends_the_text_and_is_told(client: openai.OpenAI, tiny: Generator) -> None:
    params = tiny.default_params.replace(temperature=0, max_tokens=20)
    text = tiny.generate(PROMPT, params).text
    stop = text[len(text) // 2 :][:1]
    answer = client.completions.create(model="tiny", prompt=PROMPT, temperature=0, max_tokens=20, stop=stop)
    assert answer.choices[0].text == text[: text.index(stop)]
    assert answer.choices[0].finish_reason == "stop"
    assert answer.choices[0].model_extra == {"stop_reason": stop}


def test_parameters_that_openai_lacks_go_by_vllms_names(client: openai.OpenAI, tiny: Generator) -> None:
    extra: dict[str, Any] = {"top_k": 5, "min_p": 0.01, "repetition_penalty": 1.2, "min_tokens": 3, "ignore_eos": True}
    answer = client.completions.create(model="tiny", prompt=PROMPT, **SAMPLED, extra_body=extra)
    wanted = tiny.generate(PROMPT, tiny.default_params.replace(**SAMPLED, **extra))
    assert answer.choices[0].text == wanted.text
    biased = client.completions.create(model="tiny", prompt=PROMPT, max_tokens=3, logit_bias={"65": 50}, temperature=0)
    other = tiny.generate(PROMPT, tiny.default_params.replace(max_tokens=3, logit_bias={65: 50.0}, temperature=0))
    assert biased.choices[0].text == other.text


def test_beam_search_goes_by_vllms_and_transformers_names(client: openai.OpenAI, tiny: Generator) -> None:
    wanted = tiny.generate(PROMPT, tiny.default_params.replace(num_beams=3, n=3, temperature=0, max_tokens=5))
    for extra in ({"use_beam_search": True}, {"num_beams": 3, "temperature": 0}):
        answer = client.completions.create(model="tiny", prompt=PROMPT, n=3, max_tokens=5, extra_body=extra)
        assert [choice.text for choice in answer.choices] == [output.text for output in wanted.outputs]


def test_prompt_logprobs_come_in_vllms_shape(client: openai.OpenAI, tiny: Generator) -> None:
    answer = client.chat.completions.create(
        model="tiny", messages=MESSAGES, max_tokens=1, extra_body={"prompt_logprobs": 1}
    )
    rows = (answer.model_extra or {})["prompt_logprobs"]
    wanted = tiny.chat(MESSAGES, SamplingParams(max_tokens=1, prompt_logprobs=1)).prompt_logprobs
    assert wanted is not None
    assert rows[0] is None
    for row, entries in zip(rows[1:], wanted[1:], strict=True):
        assert entries is not None
        assert {int(token): entry["logprob"] for token, entry in row.items()} == {
            token: entry.logprob for token, entry in entries.items()
        }


def test_a_last_message_is_gone_on_with(client: openai.OpenAI, tiny: Generator) -> None:
    said: Any = [{"role": "user", "content": "Count."}, {"role": "assistant", "content": "One, two"}]
    answer = client.chat.completions.create(
        model="tiny", messages=said, temperature=0, max_tokens=6, extra_body={"continue_final_message": True}
    )
    text = tiny.render_chat(said, continue_final_message=True)
    assert text.endswith("One, two")
    wanted = tiny.generate(
        tiny.encode(text, add_special_tokens=False), tiny.default_params.replace(temperature=0, max_tokens=6)
    )
    assert answer.choices[0].message.content == wanted.text


def test_a_response_is_one_message(client: openai.OpenAI, tiny: Generator) -> None:
    wanted = tiny.chat(MESSAGES, tiny.default_params.replace(**SAMPLED))
    answer = client.responses.create(
        model="tiny", instructions="Be brief.", input="Tell me a story.", max_output_tokens=12, temperature=0.8,
        top_p=0.9, extra_body={"seed": 7}, include=["message.output_text.logprobs"],
    )  # fmt: skip
    assert answer.output_text == wanted.text
    assert answer.usage is not None
    assert answer.usage.output_tokens == wanted.timings.tokens
    assert answer.status == ("incomplete" if wanted.finish_reason == "length" else "completed")
    message: Any = answer.output[0]
    assert len(message.content[0].logprobs) == wanted.timings.tokens


def test_a_streamed_response_tells_every_step(client: openai.OpenAI, tiny: Generator) -> None:
    with client.responses.stream(model="tiny", input=MESSAGES, temperature=0, max_output_tokens=8) as stream:
        events = list(stream)
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert [event.type for event in events if "delta" not in event.type] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        events[-1].type,
    ]
    last: Any = events[-1]
    wanted = tiny.chat(MESSAGES, tiny.default_params.replace(temperature=0, max_tokens=8))
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert text == last.response.output_text == wanted.text


def test_responses_are_not_stored(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="nothing is stored") as caught:
        client.responses.create(model="tiny", input="Go on.", previous_response_id="resp_1")
    assert caught.value.param == "previous_response_id"
    with pytest.raises(openai.NotFoundError, match="nothing is stored"):
        client.responses.retrieve("resp_1")


async def test_many_asynchronous_clients_get_their_own_answers(tiny_server: Serving, tiny: Generator) -> None:
    async with openai.AsyncOpenAI(base_url=tiny_server.base, api_key="none", max_retries=0) as client:

        async def ask(seed: int) -> str:
            stream = await client.chat.completions.create(
                model="tiny", messages=MESSAGES, stream=True, max_tokens=10, temperature=1, seed=seed
            )
            return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

        texts = await asyncio.gather(*(ask(seed) for seed in range(24)))
    for seed, text in enumerate(texts):
        assert text == tiny.chat(MESSAGES, tiny.default_params.replace(max_tokens=10, temperature=1, seed=seed)).text


CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"temperature": -1}, "temperature", "at least 0"),
    ({"temperature": "hot"}, "temperature", "valid number"),
    ({"top_p": 1.5}, "top_p", r"\(0, 1\]"),
    ({"n": 0}, "n", "at least 1"),
    ({"n": 1000}, "n", "at most 16"),
    ({"max_tokens": 0}, "max_tokens", "at least 1"),
    ({"max_tokens": 10**9}, "max_tokens", "max_length is"),
    ({"max_tokens": 3, "max_completion_tokens": 4}, "max_completion_tokens", "contradict"),
    ({"messages": []}, "messages", "at least 1"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages", "text only"),
    ({"messages": [{"role": "wizard", "content": "x"}]}, "messages[0].role", "must be one of developer, system, user"),
    ({"messages": [{"content": "x"}]}, "messages[0].role", "must be a text"),
    ({"messages": ["x"]}, "messages[0]", "role and content"),
    ({"messages": [{"role": "user", "content": "x", "contant": "y"}]}, "messages[0].contant", "Unknown field"),
    ({"messages": [{"role": "assistant", "tool_calls": [CALL]}]}, "messages[0].tool_calls", "does not write it"),
    ({"top_logprobs": 3}, "top_logprobs", "set logprobs"),
    ({"logprobs": True, "top_logprobs": 21}, "top_logprobs", "at most 20"),
    ({"logit_bias": {"x": 1}}, "logit_bias", "no token id"),
    ({"logit_bias": {"99999999": 1}}, "logit_bias", "99999999"),
    ({"stop": ["a", 1]}, r"stop[1]", "valid string"),
    ({"stream_options": {"include_usage": True}}, "stream_options", "set stream"),
    ({"response_format": {"type": "xml"}}, "response_format.type", "must be text, json_object or json_schema"),
    ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools", "does not write tools"),
    ({"reasoning_effort": "high"}, "reasoning_effort", "chat_template_kwargs"),
    ({"extra_body": {"tempreture": 1}}, "tempreture", "Did you mean temperature"),
    ({"extra_body": {"priority": 3}}, "priority", "--allow-priority"),
    ({"extra_body": {"stop_token_ids": [1, "2"]}}, "stop_token_ids[1]", "valid integer"),
]


@pytest.mark.parametrize(("wrong", "param", "reason"), WRONG, ids=[str(wrong)[:50] for wrong, _, _ in WRONG])
def test_wrong_values_are_refused_by_name(
    client: openai.OpenAI, wrong: dict[str, Any], param: str, reason: str
) -> None:
    arguments: dict[str, Any] = {"model": "tiny", "messages": MESSAGES, "max_tokens": 2, **wrong}
    with pytest.raises(openai.BadRequestError, match=reason) as caught:
        client.chat.completions.create(**arguments)
    assert caught.value.param == param
    assert caught.value.type == "invalid_request_error"


def test_fields_of_responses_are_named_as_the_client_names_them(client: openai.OpenAI) -> None:
    wrong: list[tuple[dict[str, Any], str, str]] = [
        ({"max_output_tokens": 10**6}, "max_output_tokens", "set max_output_tokens to at most"),
        ({"top_logprobs": 21}, "top_logprobs", "top_logprobs is 21"),
        ({"input": []}, "input", "input is empty"),
        ({"input": [{"role": "wizard", "content": "x"}]}, "input[0].role", "must be one of"),
        ({"input": [{"role": "user", "content": "x", "contant": "y"}]}, "input[0].contant", "Unknown field"),
        ({"input": [{"type": "reasoning"}]}, "input[0]", "only messages"),
        ({"text": {"format": {"type": "xml"}}}, "text.format.type", "must be text, json_object or json_schema"),
        ({"text": {"verbosity": "high"}}, "text.verbosity", "is not there"),
    ]
    for change, param, reason in wrong:
        arguments: dict[str, Any] = {"model": "tiny", "input": "x", **change}
        with pytest.raises(openai.BadRequestError, match=reason) as caught:
            client.responses.create(**arguments)
        assert caught.value.param == param, change


def test_an_answer_may_be_sent_back_as_clients_hold_it(client: openai.OpenAI, tiny: Generator) -> None:
    """With all its empty fields, as a part of the next conversation."""
    short = {"temperature": 0, "max_tokens": 4}
    first = client.chat.completions.create(model="tiny", messages=MESSAGES, temperature=0, max_tokens=4)
    said: Any = [*MESSAGES, first.choices[0].message.model_dump(), {"role": "user", "content": "More", "name": "me"}]
    second = client.chat.completions.create(model="tiny", messages=said, temperature=0, max_tokens=4)
    plain = [*MESSAGES, {"role": "assistant", "content": first.choices[0].message.content},
             {"role": "user", "content": "More"}]  # fmt: skip
    wanted = tiny.chat(plain, tiny.default_params.replace(**short)).text
    assert second.choices[0].message.content == wanted
    response = client.responses.create(model="tiny", input=MESSAGES, temperature=0, max_output_tokens=4)
    items: Any = [*MESSAGES, *(item.model_dump() for item in response.output), {"role": "user", "content": "More"}]
    answer = client.responses.create(model="tiny", input=items, temperature=0, max_output_tokens=4)
    assert answer.output_text == wanted


def test_a_completion_that_cannot_be_is_refused_by_name(client: openai.OpenAI) -> None:
    wrong: list[tuple[dict[str, Any], str, str]] = [
        ({"suffix": "end"}, "suffix", "fill no gaps"),
        ({"best_of": 1, "n": 2}, "best_of", "at least n"),
        ({"best_of": 2, "stream": True}, "best_of", "cannot be streamed"),
        ({"prompt": ""}, "prompt", "empty"),
        ({"prompt": []}, "prompt", "empty"),
        ({"prompt": [1, "a"]}, "prompt", "index 1"),
        ({"prompt": [["a"]]}, "prompt", "text or token ids"),
        ({"prompt": [[]]}, "prompt", "empty"),
        ({"prompt": [[True]]}, "prompt", "ids are ints"),
        ({"prompt": [10**12]}, "prompt", "outside"),
        ({"prompt": ["x"] * 200}, "prompt", "may have 128"),
        ({"prompt": "x" * 5000}, "prompt", "shorten it"),
        ({"max_tokens": 0}, "max_tokens", "at least 1"),
        ({"logprobs": 10**6}, "logprobs", "must be from 0"),
    ]
    for change, param, reason in wrong:
        arguments: dict[str, Any] = {"model": "tiny", "prompt": "x", "max_tokens": 1, **change}
        with pytest.raises(openai.BadRequestError, match=reason) as caught:
            client.completions.create(**arguments)
        assert caught.value.param == param, change


def test_harmless_fields_change_nothing(client: openai.OpenAI, tiny: Generator) -> None:
    answer = client.chat.completions.create(
        model="tiny", messages=MESSAGES, **SAMPLED, user="me", store=True, metadata={"a": "b"}, service_tier="auto",
        tools=[], tool_choice="none", response_format={"type": "text"}, parallel_tool_calls=False, modalities=["text"],
    )  # fmt: skip
    assert answer.choices[0].message.content == tiny.chat(MESSAGES, tiny.default_params.replace(**SAMPLED)).text
