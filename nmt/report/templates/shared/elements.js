// Makes elements. Text becomes text nodes alone, so nothing that anybody writes can become markup.

export const SVG = "http://www.w3.org/2000/svg";

// h("a.fine", {href: "#", onclick: act}, "text", child): an element of HTML with its classes; attributes that
// are null or false are left out.
export const h = (name, ...rest) => filled((tag) => document.createElement(tag), name, rest);

// The same for SVG.
export const s = (name, ...rest) => filled((tag) => document.createElementNS(SVG, tag), name, rest);

function filled(make, selector, rest) {
  const [tag, ...classes] = selector.split("."), element = make(tag);
  const [attributes, children] = rest[0]?.constructor === Object ? [rest[0], rest.slice(1)] : [{}, rest];
  if (classes.length) element.setAttribute("class", classes.join(" "));
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}
