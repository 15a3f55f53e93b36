"""C-Eval (Huang et al. 2023): 52 subjects in Chinese, each counted the same; its eight hardest also by themselves.

Subjects and categories are the published ones, titles and prompt those of Skywork's own evaluation. The answers of the
split `test` are not published.
"""

from __future__ import annotations

from skywork_rt.evaluate.task import CHOICES, Layout, Question, Subject, Task

__all__ = ["CEVAL"]

_SUBJECTS = (
    Subject("computer_network", "计算机网络", ("STEM",)),
    Subject("operating_system", "操作系统", ("STEM",)),
    Subject("computer_architecture", "计算机组成", ("STEM",)),
    Subject("college_programming", "大学编程", ("STEM",)),
    Subject("college_physics", "大学物理", ("STEM", "Hard")),
    Subject("college_chemistry", "大学化学", ("STEM", "Hard")),
    Subject("advanced_mathematics", "高等数学", ("STEM", "Hard")),
    Subject("probability_and_statistics", "概率统计", ("STEM", "Hard")),
    Subject("discrete_mathematics", "离散数学", ("STEM", "Hard")),
    Subject("electrical_engineer", "注册电气工程师", ("STEM",)),
    Subject("metrology_engineer", "注册计量师", ("STEM",)),
    Subject("high_school_mathematics", "高中数学", ("STEM", "Hard")),
    Subject("high_school_physics", "高中物理", ("STEM", "Hard")),
    Subject("high_school_chemistry", "高中化学", ("STEM", "Hard")),
    Subject("high_school_biology", "高中生物", ("STEM",)),
    Subject("middle_school_mathematics", "初中数学", ("STEM",)),
    Subject("middle_school_biology", "初中生物", ("STEM",)),
    Subject("middle_school_physics", "初中物理", ("STEM",)),
    Subject("middle_school_chemistry", "初中化学", ("STEM",)),
    Subject("veterinary_medicine", "兽医学", ("STEM",)),
    Subject("college_economics", "大学经济学", ("Social Science",)),
    Subject("business_administration", "工商管理", ("Social Science",)),
    Subject("marxism", "马克思主义基本原理", ("Social Science",)),
    Subject("mao_zedong_thought", "毛泽东思想和中国特色社会主义理论概论", ("Social Science",)),
    Subject("education_science", "教育学", ("Social Science",)),
    Subject("teacher_qualification", "教师资格", ("Social Science",)),
    Subject("high_school_politics", "高中政治", ("Social Science",)),
    Subject("high_school_geography", "高中地理", ("Social Science",)),
    Subject("middle_school_politics", "初中政治", ("Social Science",)),
    Subject("middle_school_geography", "初中地理", ("Social Science",)),
    Subject("modern_chinese_history", "近代史纲要", ("Humanities",)),
    Subject("ideological_and_moral_cultivation", "思想道德修养与法律基础", ("Humanities",)),
    Subject("logic", "逻辑学", ("Humanities",)),
    Subject("law", "法学", ("Humanities",)),
    Subject("chinese_language_and_literature", "中国语言文学", ("Humanities",)),
    Subject("art_studies", "艺术学", ("Humanities",)),
    Subject("professional_tour_guide", "导游资格", ("Humanities",)),
    Subject("legal_professional", "法律职业资格", ("Humanities",)),
    Subject("high_school_chinese", "高中语文", ("Humanities",)),
    Subject("high_school_history", "高中历史", ("Humanities",)),
    Subject("middle_school_history", "初中历史", ("Humanities",)),
    Subject("civil_servant", "公务员", ("Other",)),
    Subject("sports_science", "体育学", ("Other",)),
    Subject("plant_protection", "植物保护", ("Other",)),
    Subject("basic_medicine", "基础医学", ("Other",)),
    Subject("clinical_medicine", "临床医学", ("Other",)),
    Subject("urban_and_rural_planner", "注册城乡规划师", ("Other",)),
    Subject("accountant", "注册会计师", ("Other",)),
    Subject("fire_engineer", "注册消防工程师", ("Other",)),
    Subject("environmental_impact_assessment_engineer", "环境影响评价工程师", ("Other",)),
    Subject("tax_accountant", "税务师", ("Other",)),
    Subject("physician", "医师资格", ("Other",)),
)


def _question(subject: Subject, question: Question) -> str:
    options = "".join(f"\n{letter}. {text}" for letter, text in zip(CHOICES, question.options, strict=True))
    return f"以下是中国关于{subject.title}考试的单项选择题，请选出其中的正确答案。\n\n{question.text}{options}\n答案："


CEVAL = Task(
    name="ceval",
    title="C-Eval",
    subjects=_SUBJECTS,
    categories=("STEM", "Social Science", "Humanities", "Other", "Hard"),
    layout=Layout(
        path="{split}/{subject}_{split}.csv",
        question="question",
        answer="answer",
        identity="id",
        default_split="val",
        unanswered={"test": "val"},
    ),
    prefix=lambda _: "",
    question=_question,
    answer=lambda question: question.answer + "\n\n",
    average="subjects",
    published=60.61,
)
