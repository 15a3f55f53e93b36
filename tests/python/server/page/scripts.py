"""What tests have the browser work out."""

from __future__ import annotations

#: Texts whose contrast with their ground is below 4.5 (WCAG 2.2, 1.4.3), each as class, text and ratio.
FAINT = """() => {
  const canvas = new OffscreenCanvas(1, 1).getContext('2d', { willReadFrequently: true });
  const over = (colours) => {
    canvas.clearRect(0, 0, 1, 1);
    for (const each of colours) { canvas.fillStyle = each; canvas.fillRect(0, 0, 1, 1); }
    return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const linear = (value) => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  const light = (rgb) => {
    const [r, g, b] = rgb.map((value) => linear(value / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const faint = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const [text, node] = [walker.currentNode.data, walker.currentNode.parentElement];
    if (!text.trim() || node.closest(':disabled, .unseen, option')) continue;
    if (!node.checkVisibility({ opacityProperty: true })) continue;
    const grounds = [];
    for (let at = node; at; at = at.parentElement) grounds.unshift(getComputedStyle(at).backgroundColor);
    const pair = [over(grounds), over([...grounds, getComputedStyle(node).color])];
    const [high, low] = pair.map(light).sort((one, other) => other - one);
    const ratio = (high + 0.05) / (low + 0.05);
    if (ratio < 4.5) faint.push([node.className || node.tagName, text.slice(0, 20), ratio.toFixed(2)]);
  }
  return faint;
}"""

#: Id, name and outline of what has the focus; of nothing "body".
FOCUS = """(({ id, tagName, ariaLabel }, style) => [id || ariaLabel || tagName.toLowerCase(), style.outlineStyle])(
  document.activeElement, getComputedStyle(document.activeElement))"""

#: Counts the nodes that are put into the column of messages, as `made`.
COUNT_NODES = """() => {
  window.made = 0;
  const count = (node) => 1 + (node.querySelectorAll?.('*').length ?? 0);
  new MutationObserver((records) => {
    for (const each of records) for (const node of each.addedNodes) window.made += count(node);
  }).observe(document.querySelector('#messages'), { childList: true, subtree: true });
}"""

#: Pixels between what is seen of the conversation and its end.
TO_THE_END = """(({ scrollTop, scrollHeight, clientHeight }) => scrollHeight - scrollTop - clientHeight)(
  document.querySelector('#scroller'))"""

#: Boxes of the elements of a locator that can be seen.
BOXES = """(all) => all.filter((each) => each.checkVisibility()).map((each) => each.getBoundingClientRect().toJSON())"""

#: Notes what readers of the screen are told, as `heard`.
LISTEN = """() => {
  window.heard = [];
  const region = document.querySelector('#announcements');
  new MutationObserver(() => region.textContent && window.heard.push(region.textContent))
    .observe(region, { childList: true, characterData: true, subtree: true });
}"""
