// Lays pictures out on sheets, several to one, so that many can be looked at
// at once. What is longer than a cell goes on in the next one.

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const sheet = { width: 1400, height: 924 };
/** Less than this goes over a cell’s edge and is cut off, pixels. */
const slack = 16;
const columns = { wide: 2, zoom: 3, phone: 6 };
const rows = { wide: 2, zoom: 3, phone: 1 };
const gap = 8;
const captionPx = 14;

/** Writes sheet-<size>-<scheme>-<n>.png into the folder; pictures are {label, file, size, scheme, width, height}. Returns how many sheets there are. */
export async function layOut(browser, out, pictures) {
  const page = await browser.newPage({ viewport: sheet });
  let sheets = 0;
  for (const size of Object.keys(columns)) {
    for (const scheme of ['light', 'dark']) {
      const cellWidth = (sheet.width - gap * (columns[size] + 1)) / columns[size];
      const cellHeight = (sheet.height - gap * (rows[size] + 1)) / rows[size] - captionPx;
      const cells = pictures
        .filter((p) => p.size === size && p.scheme === scheme)
        .flatMap((p) => {
          const scale = cellWidth / p.width;
          const parts = Math.max(1, Math.ceil((p.height * scale - slack) / cellHeight));
          return Array.from({ length: parts }, (_, i) => `<figure><figcaption>${p.label}${parts > 1 ? ` ${i + 1}/${parts}` : ''}</figcaption><div style="height:${Math.min(cellHeight, p.height * scale - i * cellHeight)}px"><img src="${p.file}" style="width:${cellWidth}px;margin-top:${-i * cellHeight}px"></div></figure>`);
        });
      const each = columns[size] * rows[size];
      for (let n = 0; n * each < cells.length; n++) {
        const name = `sheet-${size}-${scheme}-${String(n + 1).padStart(2, '0')}`;
        writeFileSync(
          join(out, `${name}.html`),
          `<meta charset="utf-8"><style>body{margin:0;padding:${gap}px;background:${scheme === 'light' ? '#889' : '#445'};display:grid;grid-template-columns:repeat(${columns[size]},${cellWidth}px);gap:${gap}px;align-content:start}figure{margin:0}figcaption{font:11px/${captionPx}px sans-serif;color:#fff}div{overflow:hidden}img{display:block}</style>${cells.slice(n * each, (n + 1) * each).join('')}`,
        );
        await page.goto(pathToFileURL(join(out, `${name}.html`)).href, { waitUntil: 'load' });
        await page.screenshot({ path: join(out, `${name}.png`) });
        sheets++;
      }
    }
  }
  await page.close();
  return sheets;
}
