// What axe-core finds wrong with a page that would keep somebody from using it.

import axeCore from 'axe-core';

/** One line for each serious or critical violation, with the first elements it was found at. */
export async function axe(page) {
  await page.evaluate(axeCore.source);
  return page.evaluate(async () => {
    const found = await window.axe.run(document, { resultTypes: ['violations'], runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'best-practice'] });
    return found.violations
      .filter((v) => v.impact === 'serious' || v.impact === 'critical')
      .map((v) => `${v.id} (${v.nodes.length}) ${v.nodes.slice(0, 3).map((n) => `${n.target.join(' ')} ${(n.any[0]?.message ?? n.failureSummary ?? '').slice(0, 140)}`).join(' / ')}`);
  });
}
