"""How long the page works on a frame, early and late in an answer of 50,000 characters. No test: speed is measured by
hand.

python tests/python/server/page/frames.py BUNDLE
"""

from __future__ import annotations

import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from browser import chromium, visit
from long_answer import long_answer
from serving import serving

#: Each frame's own work as [characters, ms of scripts, ms until the browser has laid out and painted it].
_TIME_FRAMES = """(() => {
  window.frames = [];
  const ask = window.requestAnimationFrame.bind(window);
  window.requestAnimationFrame = (work) => ask((time) => {
    const begun = performance.now();
    work(time);
    const scripts = performance.now() - begun;
    const { port1, port2 } = new MessageChannel();
    const length = document.querySelector('.message.running .body')?.textContent.length ?? 0;
    port1.onmessage = () => window.frames.push([length, scripts, performance.now() - begun]);
    port2.postMessage(0);
  });
})()"""


def main() -> None:
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        server = stack.enter_context(serving(Path(folder), f"model={sys.argv[1]}"))
        long = stack.enter_context(long_answer(server.url))
        seen = stack.enter_context(visit(stack.enter_context(chromium()), long.url))
        seen.page.evaluate(_TIME_FRAMES)
        seen.say("Write a book.")
        frames = [frame for frame in seen.page.evaluate("window.frames") if frame[0]]
    print("characters        frames   scripts: median, 95 %, most     with layout and paint: median, 95 %, most (ms)")
    for least, most in ((0, 12_500), (12_500, 25_000), (25_000, 37_500), (37_500, 50_000)):
        part = [frame for frame in frames if least <= frame[0] < most]
        told = []
        for column in (1, 2):
            times = sorted(frame[column] for frame in part)
            told.append(", ".join(f"{times[int((len(times) - 1) * share)]:.1f}" for share in (0.5, 0.95, 1)))
        print(f"{least:6} to {most:6}  {len(part):5}    {told[0]:<30}  {told[1]}")


if __name__ == "__main__":
    main()
