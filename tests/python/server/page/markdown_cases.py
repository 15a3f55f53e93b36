"""Markdown as models write it."""

from __future__ import annotations

#: Texts, and the nodes that they are drawn as.
CASES = [
    ("# One\n### Three ###\n", '<h3 class="h1">One</h3><h5 class="h3">Three</h5>'),
    ("a **b** *c* ~~d~~ `e*f*` snake_case_x", "<p>a <strong>b</strong> <em>c</em> <del>d</del> "
     "<code>e*f*</code> snake_case_x</p>"),
    ("***both*** and **a *b* c**", "<p><strong><em>both</em></strong> and <strong>a <em>b</em> c</strong></p>"),
    ("2 * 3 * 4 and **open\nnext", "<p>2 * 3 * 4 and **open<br>next</p>"),
    ("- a\n  - b\n- c\n\n1. x\n2. y", "<ul><li><p>a</p><ul><li><p>b</p></li></ul></li><li><p>c</p></li></ul>"
     '<ol start="1"><li><p>x</p></li><li><p>y</p></li></ol>'),
    ("3. x\n\n   more\n4. y", '<ol start="3"><li><p>x</p><p>more</p></li><li><p>y</p></li></ol>'),
    ("- [x] done\n- [ ] open", '<ul><li class="task"><p>☑ done</p></li><li class="task"><p>☐ open</p></li></ul>'),
    ("| a | b |\n|---|\n| c | d |", "<p>| a | b |<br>|---|<br>| c | d |</p>"),
    ("> a\n> - b\n\nc", "<blockquote><p>a</p><ul><li><p>b</p></li></ul></blockquote><p>c</p>"),
    ("a\n\n---\nb", "<p>a</p><hr><p>b</p>"),
    ("1 < 2 &amp; <b>x</b> \\*y\\*", "<p>1 &lt; 2 &amp; &lt;b&gt;x&lt;/b&gt; *y*</p>"),
    ("In\n1984. It was", "<p>In<br>1984. It was</p>"),
]  # fmt: skip

#: What texts of chance are made of.
PIECES = [
    "a word ", "**", "*", "_", "`", "```\n", "```py\n", "\n", "\n\n", "- ", "  - ", "1. ", "> ", "# ", "| a | b |\n",
    "|---|:-:|\n", "[x](https://e.org/a)", "[", "](", ")", "~~", "    ", "---\n", "\\", "<b>", "&lt;", "![", "|",
    "https://e.org. ",
]  # fmt: skip

#: Each text drawn at once, and letter by letter, and its bare text.
DRAW = """async (texts) => {
  const { LiveMarkdown } = await import('/page/markdown/live.js');
  const bare = (node) => node.innerHTML.replace(/<div class="tail">(.*)<\\/div>$/s, '$1');
  return texts.map((text) => {
    const [whole, grown] = [document.createElement('div'), document.createElement('div')];
    new LiveMarkdown(whole).show(text);
    const live = new LiveMarkdown(grown);
    for (let length = 1; length <= text.length; length += 1) live.show(text.slice(0, length));
    return [bare(whole), bare(grown), whole.textContent];
  });
}"""
