"""MMLU (Hendrycks et al. 2021): 57 subjects in English, each question counted the same.

Subjects and categories are the published ones, the prompt is that of Skywork's own evaluation, where the introduction
comes once.
"""

from __future__ import annotations

from skywork_rt.evaluate.task import CHOICES, Layout, Question, Subject, Task

__all__ = ["MMLU"]

_CATEGORIES = {
    "abstract_algebra": "STEM",
    "anatomy": "STEM",
    "astronomy": "STEM",
    "business_ethics": "Other",
    "clinical_knowledge": "Other",
    "college_biology": "STEM",
    "college_chemistry": "STEM",
    "college_computer_science": "STEM",
    "college_mathematics": "STEM",
    "college_medicine": "Other",
    "college_physics": "STEM",
    "computer_security": "STEM",
    "conceptual_physics": "STEM",
    "econometrics": "Social Sciences",
    "electrical_engineering": "STEM",
    "elementary_mathematics": "STEM",
    "formal_logic": "Humanities",
    "global_facts": "Other",
    "high_school_biology": "STEM",
    "high_school_chemistry": "STEM",
    "high_school_computer_science": "STEM",
    "high_school_european_history": "Humanities",
    "high_school_geography": "Social Sciences",
    "high_school_government_and_politics": "Social Sciences",
    "high_school_macroeconomics": "Social Sciences",
    "high_school_mathematics": "STEM",
    "high_school_microeconomics": "Social Sciences",
    "high_school_physics": "STEM",
    "high_school_psychology": "Social Sciences",
    "high_school_statistics": "STEM",
    "high_school_us_history": "Humanities",
    "high_school_world_history": "Humanities",
    "human_aging": "Other",
    "human_sexuality": "Social Sciences",
    "international_law": "Humanities",
    "jurisprudence": "Humanities",
    "logical_fallacies": "Humanities",
    "machine_learning": "STEM",
    "management": "Other",
    "marketing": "Other",
    "medical_genetics": "Other",
    "miscellaneous": "Other",
    "moral_disputes": "Humanities",
    "moral_scenarios": "Humanities",
    "nutrition": "Other",
    "philosophy": "Humanities",
    "prehistory": "Humanities",
    "professional_accounting": "Other",
    "professional_law": "Humanities",
    "professional_medicine": "Other",
    "professional_psychology": "Social Sciences",
    "public_relations": "Social Sciences",
    "security_studies": "Social Sciences",
    "sociology": "Social Sciences",
    "us_foreign_policy": "Social Sciences",
    "virology": "Other",
    "world_religions": "Humanities",
}


def _question(_: Subject, question: Question) -> str:
    options = "".join(f"{letter}. {text}\n" for letter, text in zip(CHOICES, question.options, strict=True))
    return f"Question: {question.text}\nChoices:\n{options}Answer:"


MMLU = Task(
    name="mmlu",
    title="MMLU",
    subjects=tuple(Subject(name, name.replace("_", " "), (category,)) for name, category in _CATEGORIES.items()),
    categories=("STEM", "Humanities", "Social Sciences", "Other"),
    layout=Layout(
        path="{split}/{subject}_{split}.csv", question="question", answer="answer", identity=None, header=False
    ),
    prefix=lambda subject: f"The following are multiple choice questions (with answers) about {subject.title}.\n\n",
    question=_question,
    answer=lambda question: f" {question.answer}\n\n",
    average="questions",
    published=62.13,
)
