"""CMMLU (Li et al. 2023): 67 subjects in Chinese, each counted the same; 15 of them also as what is China's own.

Subjects and categories are the published ones, the prompt that of Skywork's own evaluation.
"""

from __future__ import annotations

from skywork_rt.evaluate.task import CHOICES, Layout, Question, Subject, Task

__all__ = ["CMMLU"]

_SUBJECTS = (
    Subject("agronomy", "农学", ("Other",)),
    Subject("anatomy", "解剖学", ("STEM",)),
    Subject("ancient_chinese", "古汉语", ("Social Science", "China specific")),
    Subject("arts", "艺术学", ("Humanities",)),
    Subject("astronomy", "天文学", ("STEM",)),
    Subject("business_ethics", "商业伦理", ("Social Science",)),
    Subject("chinese_civil_service_exam", "中国公务员考试", ("Social Science", "China specific")),
    Subject("chinese_driving_rule", "中国驾驶规则", ("Other", "China specific")),
    Subject("chinese_food_culture", "中国饮食文化", ("Social Science", "China specific")),
    Subject("chinese_foreign_policy", "中国外交政策", ("Social Science", "China specific")),
    Subject("chinese_history", "中国历史", ("Humanities", "China specific")),
    Subject("chinese_literature", "中国文学", ("Humanities", "China specific")),
    Subject("chinese_teacher_qualification", "中国教师资格", ("Social Science", "China specific")),
    Subject("clinical_knowledge", "临床知识", ("Other",)),
    Subject("college_actuarial_science", "大学精算学", ("STEM",)),
    Subject("college_education", "大学教育学", ("Social Science",)),
    Subject("college_engineering_hydrology", "大学工程水文学", ("STEM",)),
    Subject("college_law", "大学法律", ("Humanities",)),
    Subject("college_mathematics", "大学数学", ("STEM",)),
    Subject("college_medical_statistics", "大学医学统计", ("STEM",)),
    Subject("college_medicine", "大学医学", ("Other",)),
    Subject("computer_science", "计算机科学", ("STEM",)),
    Subject("computer_security", "计算机安全", ("Other",)),
    Subject("conceptual_physics", "概念物理学", ("STEM",)),
    Subject("construction_project_management", "建设工程管理", ("Other", "China specific")),
    Subject("economics", "经济学", ("Social Science",)),
    Subject("education", "教育学", ("Social Science",)),
    Subject("electrical_engineering", "电气工程", ("STEM",)),
    Subject("elementary_chinese", "小学语文", ("Social Science", "China specific")),
    Subject("elementary_commonsense", "小学常识", ("Other", "China specific")),
    Subject("elementary_information_and_technology", "小学信息技术", ("Other",)),
    Subject("elementary_mathematics", "初等数学", ("STEM",)),
    Subject("ethnology", "民族学", ("Social Science", "China specific")),
    Subject("food_science", "食品科学", ("Other",)),
    Subject("genetics", "遗传学", ("STEM",)),
    Subject("global_facts", "全球事实", ("Humanities",)),
    Subject("high_school_biology", "高中生物", ("STEM",)),
    Subject("high_school_chemistry", "高中化学", ("STEM",)),
    Subject("high_school_geography", "高中地理", ("Social Science",)),
    Subject("high_school_mathematics", "高中数学", ("STEM",)),
    Subject("high_school_physics", "高中物理学", ("STEM",)),
    Subject("high_school_politics", "高中政治", ("Social Science", "China specific")),
    Subject("human_sexuality", "人类性行为", ("Other",)),
    Subject("international_law", "国际法学", ("Humanities",)),
    Subject("journalism", "新闻学", ("Social Science",)),
    Subject("jurisprudence", "法理学", ("Humanities",)),
    Subject("legal_and_moral_basis", "法律与道德基础", ("Other",)),
    Subject("logical", "逻辑学", ("Humanities",)),
    Subject("machine_learning", "机器学习", ("STEM",)),
    Subject("management", "管理学", ("Social Science",)),
    Subject("marketing", "市场营销", ("Social Science",)),
    Subject("marxist_theory", "马克思主义理论", ("Humanities",)),
    Subject("modern_chinese", "现代汉语", ("Social Science", "China specific")),
    Subject("nutrition", "营养学", ("Other",)),
    Subject("philosophy", "哲学", ("Humanities",)),
    Subject("professional_accounting", "专业会计", ("Social Science",)),
    Subject("professional_law", "专业法学", ("Humanities",)),
    Subject("professional_medicine", "专业医学", ("Other",)),
    Subject("professional_psychology", "专业心理学", ("Social Science",)),
    Subject("public_relations", "公共关系", ("Social Science",)),
    Subject("security_study", "安全研究", ("Social Science",)),
    Subject("sociology", "社会学", ("Social Science",)),
    Subject("sports_science", "体育学", ("Other",)),
    Subject("traditional_chinese_medicine", "中医中药", ("Other", "China specific")),
    Subject("virology", "病毒学", ("STEM",)),
    Subject("world_history", "世界历史", ("Humanities",)),
    Subject("world_religions", "世界宗教", ("Humanities",)),
)


def _question(subject: Subject, question: Question) -> str:
    options = "".join(f"\n{letter}. {text}" for letter, text in zip(CHOICES, question.options, strict=True))
    return (
        f"以下是关于{subject.title}的单项选择题，请直接给出正确答案的选项。\n\n题目：{question.text}{options}\n答案："
    )


CMMLU = Task(
    name="cmmlu",
    title="CMMLU",
    subjects=_SUBJECTS,
    categories=("STEM", "Humanities", "Social Science", "Other", "China specific"),
    layout=Layout(
        path="{split}/{subject}.csv", question="Question", answer="Answer", identity="", splits=("dev", "test")
    ),
    prefix=lambda _: "",
    question=_question,
    answer=lambda question: question.answer + "\n\n",
    average="subjects",
    published=61.83,
)
