"""Pictures that lie on each other with a slider between them, for pages of HTML.

A divider that is dragged, or moved by the arrow keys, shows the first to its left and one of the others to
its right. No script from anywhere else, and without any script both halves are there.
"""

import base64
from collections.abc import Mapping
from html import escape

import numpy as np

from vqe_cli.text import printable
from vqe_cli.video.images import jpeg, png

# Larger pictures are JPEG, whose artefacts are far below those of compressed video: a page is to be mailed.
LOSSLESS_PIXELS = 640 * 360

STYLE = """
.slider { position: relative; margin: 0; line-height: 0; --at: 50%; overflow: hidden; border-radius: 6px }
.slider img { width: 100%; height: auto; display: block }
.slider img.other { position: absolute; inset: 0; height: 100%; display: none }
.slider img.other.shown { display: block; clip-path: inset(0 0 0 var(--at)) }
.slider::after { content: ""; position: absolute; top: 0; bottom: 0; left: calc(var(--at) - 1px); width: 2px;
  background: #fff; box-shadow: 0 0 4px #000a; pointer-events: none }
.slider input { position: absolute; inset: 0; width: 100%; height: 100%; margin: 0; opacity: 0;
  cursor: ew-resize }
.slider:focus-within { outline: 3px solid #0969da }
.slider span { position: absolute; top: .6rem; font: 600 13px/1 sans-serif; color: #fff; background: #0009;
  padding: .3rem .5rem; border-radius: 4px; pointer-events: none }
.slider .left { left: .6rem } .slider .right { right: .6rem }
.choices { display: flex; flex-wrap: wrap; gap: .4rem; margin: .5rem 0 }
.choices button { font: inherit; font-size: .87rem; padding: .25rem .7rem; border: 1px solid #d0d7de;
  border-radius: 6px; background: #f6f8fa; cursor: pointer }
.choices button[aria-pressed=true] { background: #0969da; border-color: #0969da; color: #fff }
"""

# Digits choose among the others of all sliders of the page.
SCRIPT = """
document.querySelectorAll('.slider input').forEach(function (input) {
  input.addEventListener('input', function () {
    input.parentNode.style.setProperty('--at', input.value + '%');
  });
});
function choose(name) {
  document.querySelectorAll('.slider img.other').forEach(function (image) {
    image.classList.toggle('shown', image.dataset.name === name);
  });
  document.querySelectorAll('.slider .right').forEach(function (label) { label.textContent = name; });
  document.querySelectorAll('.choices button').forEach(function (button) {
    button.setAttribute('aria-pressed', String(button.dataset.name === name));
  });
}
document.querySelectorAll('.choices button').forEach(function (button) {
  button.addEventListener('click', function () { choose(button.dataset.name); });
});
document.addEventListener('keydown', function (event) {
  var first = document.querySelector('.choices');
  var buttons = first ? first.querySelectorAll('button') : [];
  var number = Number(event.key) - 1;
  if (buttons[number] && !event.ctrlKey && !event.metaKey && !event.altKey) {
    choose(buttons[number].dataset.name);
  }
});
"""


def picture_uri(pixels: np.ndarray) -> str:
    """Pixels (h, w, 3) uint8 as a `data:` address: PNG, or JPEG where that would be large."""
    lossless = pixels.shape[0] * pixels.shape[1] <= LOSSLESS_PIXELS
    data = png(pixels, smallest=True) if lossless else jpeg(pixels)
    return f"data:image/{'png' if lossless else 'jpeg'};base64,{base64.b64encode(data).decode()}"


def slider(name: str, pixels: np.ndarray, others: Mapping[str, np.ndarray], what: str) -> str:
    """A picture, called `name`, with the others by their names on top; all are shown at one size.

    pixels: (h, w, 3) uint8. what: a description for those who do not see it.
    """
    layers = "".join(
        f'<img class="other{"" if number else " shown"}" data-name="{_text(each)}" '
        f'src="{picture_uri(picture)}" alt=""/>'
        for number, (each, picture) in enumerate(others.items())
    )
    return (
        f'<div class="slider"><img src="{picture_uri(pixels)}" alt="{_text(what)}"/>{layers}'
        f'<span class="left">{_text(name)}</span><span class="right">{_text(next(iter(others), ""))}</span>'
        f'<input type="range" min="0" max="100" value="50" step="1" aria-label="{_text(what)}: '
        'left of the divider before, right of it after"/></div>'
    )


def choices(names: Mapping[str, str]) -> str:
    """Buttons that choose which of the others are shown, with what each says; none for a single one."""
    if len(names) < 2:
        return ""
    buttons = "".join(
        f'<button type="button" data-name="{_text(name)}" aria-pressed="{"false" if number else "true"}">'
        f"{_text(words)}</button>"
        for number, (name, words) in enumerate(names.items())
    )
    return f'<div class="choices" role="group" aria-label="shown on the right">{buttons}</div>'


def _text(words: object) -> str:
    return escape(printable(words))
