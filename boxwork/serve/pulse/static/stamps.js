// Short texts as pictures.  Writing on a canvas of the page makes the browser lay the page out first, which costs a
// tick 0.9 ms whenever the list has just changed; a detached canvas has no page, and copying a picture needs none.

const KEPT_MAX = 200;    // labels of the time axis come and go, some 10 at a time

export class Stamps {
  constructor() { this.clear(); }
  clear() { this.made = new Map(); }

  // `ratio` is device pixels to a CSS pixel.
  make(text, colour, font, ratio) {
    const picture = new OffscreenCanvas(1, 1);
    let c = picture.getContext("2d");
    c.font = font;
    const wide = Math.ceil(c.measureText(text).width) + 2, tall = 16;
    picture.width = Math.ceil(wide * ratio);
    picture.height = Math.ceil(tall * ratio);
    c = picture.getContext("2d");
    c.setTransform(ratio, 0, 0, ratio, 0, 0);
    c.font = font;
    c.fillStyle = colour;
    c.textBaseline = "middle";
    c.fillText(text, 1, tall / 2);
    return { picture, wide, tall };
  }

  // `align` is where x lies within the text: 0 at its left end, 0.5 in its middle; y is its middle.
  draw(c, text, x, y, { colour, font, ratio, align = 0 }) {
    const key = colour + text;
    let stamp = this.made.get(key);
    if (!stamp) {
      if (this.made.size >= KEPT_MAX) this.clear();
      this.made.set(key, stamp = this.make(text, colour, font, ratio));
    }
    // On whole device pixels, or the letters would blur.
    const left = Math.round((x - stamp.wide * align) * ratio) / ratio, top = Math.round((y - stamp.tall / 2) * ratio) / ratio;
    c.drawImage(stamp.picture, left, top, stamp.picture.width / ratio, stamp.picture.height / ratio);
  }
}
