// Surprise: how much each word of the user's translation surprises the model.

import { h, named, number, percent, share } from "./dom.js";
import { ask, look } from "./server.js";
import { wordRow } from "./words.js";

const DARKEST = 12; // bits

export const surprise = {
  name: "surprise",
  title: "Surprise",
  how: `Type a translation of your own. The stronger the shade of a word, the more it surprises the model. One bit is a word that
    it gave one chance in two, ten bits one in a thousand. Choose a word to see its pieces, and what the model would rather have
    said. ▁ begins a word.`,
  said: "Your translation",
  needed: true,
  reads: ["said"],
  ask: ({ model, asked }, signal) => look("surprise", { model, ...asked }, signal),
  own: async ({ model, text, target }) => (await ask("/v1/translate", { body: { model, target, text: [text] } })).translations[0][0].text,
  draw,
};

const shade = (bits) => `--weight: ${Math.min(1, Math.max(0, bits) / DARKEST).toFixed(3)}`;

function draw(data) {
  const details = h("div.details", { "aria-live": "polite" });
  const found = data.words.map(({ word }, index) => ({ word, shown: named(word), before: index ? " " : "" }));
  const point = (index) => {
    if (index === null) return;
    details.replaceChildren(...told(data, index));
    buttons.forEach((button, place) => (button.ariaPressed = String(place === index)));
  };
  const dress = (index) => {
    const { word, bits } = data.words[index];
    return { style: shade(bits), "aria-label": `${named(word)}, ${number(bits, 1)} bits` };
  };
  const { row, buttons } = wordRow({ found, after: "" }, { label: "Words of your translation", choose: point, point, dress });
  row.classList.add("shaded");
  const scale = [0, 1, 3, 6, 9, DARKEST].map((bits) => h("span.word", { style: shade(bits) }, bits));
  const worst = data.words.reduce((most, word, index) => (word.bits > data.words[most].bits ? index : most), 0);
  return {
    figure: [
      row,
      h("p.fine.scale.shaded", "bits: ", scale, " and more"),
      h("p", `${number(data.bits, 1)} bits in all, ${number(data.bits_per_word, 1)} for a word. The end counts as a word.`),
      details,
    ],
    ready: () => point(worst),
  };
}

function told(data, index) {
  const pieces = data.pieces.filter((piece) => piece.word === index);
  const place = (rank) => (rank === 1 ? "the first choice" : `choice ${rank.toLocaleString("en")}`);
  const figures = ({ bits, probability, rank }) => `${number(bits, 1)} bits, probability ${percent(probability)}, ${place(rank)}`;
  return pieces.map(({ piece, rank, instead, ...more }) => h(
    "section.piece",
    h("h3", h("bdi", named(piece)), " ", h("small", figures({ rank, ...more }))),
    h("p.fine", rank === 1 ? "Next come" : "The model would rather say"),
    h("ul.instead", instead.map((other) => h("li", share(named(other.piece), other.probability)))),
  ));
}
