#include "backend/ascend/device_cache_backend.h"

#include <algorithm>
#include <utility>

#include "skywork_rt/error.h"
#include "support/format.h"

namespace skywork_rt::ascend {
namespace {

template <typename T>
T Bound(T given, T own) {
  return given == 0 ? own : std::min(given, own);
}

Traits TraitsOf(const ModelSpec& model, const DeviceForm& form, const DeviceLimits& limits) {
  const bool assign = form.form == Form::kAssign;
  const std::size_t longest =
      std::min(Bound(limits.max_length, form.max_length), static_cast<std::size_t>(model.max_length));
  Traits traits;
  traits.max_batch = Bound(limits.max_batch, form.MostRows());
  traits.max_cached_tokens = Bound(limits.max_cached_tokens, form.MostTokens());
  traits.max_chunk = longest;
  traits.can_fork = false;
  traits.can_truncate = !assign;  // a token is added to what its position holds, which must be nothing
  traits.mixed_steps = false;     // prompts are calls of their own: tokens of others need not wait for them
  traits.whole_prompts = true;
  traits.static_batch = assign;
  traits.only_last_logits = assign;
  traits.bytes_per_token = limits.bytes_per_token;
  return traits;
}

[[noreturn]] void Refuse(const std::string& complaint) {
  throw Error(ErrorCode::kUnsupported,
              StrCat(complaint,
                     ": graphs whose cache is written by Assign compute batches that begin and go on "
                     "together; export with PromptKVCache (form indexed) or paged attention for more"));
}

}  // namespace

DeviceCacheBackend::DeviceCacheBackend(ModelSpec model, const DeviceForm& form, const DeviceLimits& limits,
                                       DeviceSessions sessions)
    : model_(std::move(model)),
      form_(form),
      traits_(TraitsOf(model_, form, limits)),
      ledger_(model_.vocab_size, traits_.max_chunk, traits_),
      layout_(CacheLayout::For(form)),
      full_(std::move(sessions.full), GraphRole::kFull, form, model_.vocab_size),
      incremental_(std::move(sessions.incremental), GraphRole::kIncremental, form, model_.vocab_size) {}

GeneratorOptions DeviceCacheBackend::Chosen(GeneratorOptions options) const {
  options.device = "ascend";
  options.mmap = false;
  return options;
}

SeqId DeviceCacheBackend::Open(std::size_t max_tokens) {
  const SeqId seq = ledger_.Open(max_tokens);
  try {
    open_.reserve(open_.size() + 1);
    layout_->Open(seq, max_tokens);
  } catch (...) {
    ledger_.Close(seq);
    throw;
  }
  open_.push_back(seq);
  return seq;
}

void DeviceCacheBackend::Close(SeqId seq) {
  ledger_.CheckClose(seq);
  layout_->Close(seq);
  ledger_.Close(seq);
  open_.erase(std::find(open_.begin(), open_.end(), seq));
  const bool idle = std::all_of(open_.begin(), open_.end(), [&](SeqId other) { return ledger_.Length(other) == 0; });
  if (idle) broken_ = false;  // the next call of the full graph replaces the whole cache
}

bool DeviceCacheBackend::Forward(Span<const Chunk> chunks, Span<float> logits, ForwardWatch* watch) {
  ledger_.CheckForward(chunks, Span<const float>(logits.data(), logits.size()));
  if (form_.form == Form::kAssign) CheckStatic(chunks);
  const std::vector<Run> runs = Plan(chunks, logits);
  try {
    if (!RunAll(runs, watch)) {
      ForgetCalls(chunks);
      return false;
    }
  } catch (...) {
    broken_ = form_.form == Form::kAssign && !runs[0].prompts;  // a prompt's call replaces all that is there
    ForgetCalls(chunks);
    throw;
  }
  ledger_.Advance(chunks);
  return true;
}

// What was computed of them lies behind their lengths, where the next calls write.
void DeviceCacheBackend::ForgetCalls(Span<const Chunk> chunks) {
  for (const Chunk& chunk : chunks) layout_->SetLength(chunk.seq, ledger_.Length(chunk.seq));
}

// ---------------------------------------------------------------------------------------------------------- the plan

/// Tokens of an empty sequence's chunk that the full graph reads: all, or up to the first whose logits are wanted.
std::size_t DeviceCacheBackend::HeadOf(const Chunk& chunk) const {
  std::size_t head = std::min(chunk.tokens.size(), form_.full.max_length());
  if (!chunk.logit_rows.empty()) head = std::min(head, static_cast<std::size_t>(chunk.logit_rows[0]) + 1);
  return head;
}

std::vector<DeviceCacheBackend::Run> DeviceCacheBackend::Plan(Span<const Chunk> chunks, Span<float> logits) const {
  const auto vocab = static_cast<std::size_t>(model_.vocab_size);
  std::vector<Part> prompts;
  std::vector<Run> steps;  // the k-th single tokens of all chunks are one call
  float* next = logits.data();
  for (const Chunk& chunk : chunks) {
    const std::size_t length = ledger_.Length(chunk.seq);
    const std::size_t head = length == 0 ? HeadOf(chunk) : 0;
    const int* row = chunk.logit_rows.begin();
    const auto take_logits = [&](std::size_t token) {
      if (row == chunk.logit_rows.end() || static_cast<std::size_t>(*row) != token) return static_cast<float*>(nullptr);
      ++row;
      return std::exchange(next, next + vocab);
    };
    if (head != 0) prompts.push_back({{chunk.seq, chunk.tokens.subspan(0, head), 0}, take_logits(head - 1)});
    for (std::size_t i = head; i < chunk.tokens.size(); ++i) {
      if (steps.size() == i - head) steps.emplace_back();
      steps[i - head].parts.push_back({{chunk.seq, chunk.tokens.subspan(i, 1), length + i}, take_logits(i)});
    }
  }
  std::vector<Run> runs;
  PlanPrompts(std::move(prompts), &runs);
  for (Run& step : steps) runs.push_back(std::move(step));
  return runs;
}

// Prompts whose smallest gears have the same length go together, as many as its batch holds; in the form assign all of
// them in the one call that fills the cache.
void DeviceCacheBackend::PlanPrompts(std::vector<Part> parts, std::vector<Run>* runs) const {
  const bool together = form_.form == Form::kAssign;
  const auto length_of = [&](const Part& part) { return form_.full.LengthFor(part.work.tokens.size()).value_or(0); };
  if (!together) {
    std::stable_sort(parts.begin(), parts.end(),
                     [&](const Part& a, const Part& b) { return length_of(a) < length_of(b); });
  }
  for (Part& part : parts) {
    const bool begins =
        runs->empty() ||
        (!together && (length_of(runs->back().parts[0]) != length_of(part) ||
                       static_cast<int>(runs->back().parts.size()) >= form_.full.MostRows(length_of(part))));
    if (begins) runs->push_back({true, {}});
    runs->back().parts.push_back(part);
  }
}

// ----------------------------------------------------------------------------------------------- the form assign alone

void DeviceCacheBackend::CheckStatic(Span<const Chunk> chunks) const {
  if (broken_) {
    throw Error(
        ErrorCode::kBackend,
        "an earlier call failed while it added to the cache, so that the sequences of its batch are lost: close "
        "them all");
  }
  const bool begins =
      std::any_of(chunks.begin(), chunks.end(), [&](const Chunk& chunk) { return ledger_.Length(chunk.seq) == 0; });
  if (begins) {
    CheckStaticPrompts(chunks);
    return;
  }
  for (const Chunk& chunk : chunks) {
    if (chunk.tokens.size() == 1) continue;
    Refuse(StrCat("a chunk of ", chunk.tokens.size(), " tokens for sequence ", chunk.seq, ", which has ",
                  ledger_.Length(chunk.seq), " already"));
  }
  for (const SeqId seq : open_) {
    const bool present =
        std::any_of(chunks.begin(), chunks.end(), [seq](const Chunk& chunk) { return chunk.seq == seq; });
    if (!present && ledger_.Length(seq) != 0) Refuse(StrCat("sequence ", seq, " is missing from a step of its batch"));
  }
}

void DeviceCacheBackend::CheckStaticPrompts(Span<const Chunk> chunks) const {
  for (const SeqId seq : open_) {
    if (ledger_.Length(seq) == 0) continue;
    Refuse(StrCat("a prompt cannot join while sequence ", seq, " goes on"));
  }
  for (const Chunk& chunk : chunks) {
    const bool last_only = chunk.logit_rows.empty() || chunk.logit_rows[0] == static_cast<int>(chunk.tokens.size()) - 1;
    if (!last_only) Refuse(StrCat("logits of token ", chunk.logit_rows[0], " inside a prompt"));
  }
}

// ---------------------------------------------------------------------------------------------------------- the calls

bool DeviceCacheBackend::RunAll(const std::vector<Run>& runs, ForwardWatch* watch) {
  for (std::size_t i = 0; i < runs.size(); ++i) {
    if (i != 0 && watch != nullptr && watch->GiveUp(i, runs.size())) return false;
    RunOne(runs[i]);
  }
  return true;
}

void DeviceCacheBackend::RunOne(const Run& run) {
  std::vector<RowWork> works;
  for (const Part& part : run.parts) works.push_back(part.work);
  const Call call = run.prompts ? layout_->Prompts(works) : layout_->Tokens(works);
  const Span<const float> computed = (run.prompts ? full_ : incremental_).Run(call.feeds);
  const auto vocab = static_cast<std::size_t>(model_.vocab_size);
  for (std::size_t i = 0; i < works.size(); ++i) {
    layout_->SetLength(works[i].seq, works[i].length + works[i].tokens.size());
    if (run.parts[i].logits != nullptr) std::copy_n(computed.data() + call.rows[i] * vocab, vocab, run.parts[i].logits);
  }
}

// ------------------------------------------------------------------------------------------- what the device cannot do

void DeviceCacheBackend::Reorder(Span<const SeqId> from, Span<const SeqId> to) {
  ledger_.CheckReorder(from, to);
  std::vector<std::size_t> reserved;
  for (const SeqId target : to) {
    if (std::find(from.begin(), from.end(), target) == from.end()) {
      throw Error(ErrorCode::kUnsupported, StrCat("Reorder would copy what another sequence holds to sequence ", target,
                                                  ", but this backend cannot fork sequences"));
    }
    reserved.push_back(ledger_.reserved(target));
  }
  layout_->Exchange(from, to, reserved);
  ledger_.Reorder(from, to);
}

void DeviceCacheBackend::Copy(SeqId from, SeqId to, std::size_t length) {
  ledger_.CheckCopy(from, to, length);
}

void DeviceCacheBackend::Truncate(SeqId seq, std::size_t length) {
  ledger_.CheckTruncate(seq, length);
  ledger_.SetLength(seq, length);
  layout_->SetLength(seq, length);
}

}  // namespace skywork_rt::ascend
