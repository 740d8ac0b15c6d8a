import { afterEach } from 'vitest';
import { cleanup, configure } from '@testing-library/react';

/** Machines that test may be busy; a page that is right only late is still right. */
configure({ asyncUtilTimeout: 15_000 });

afterEach(cleanup);

// Mantine asks for these; the test DOM has no layout.
class NoObserver {
  observe(): void {}
  unobserve(): void {}
  disconnect(): void {}
}
globalThis.ResizeObserver ??= NoObserver as unknown as typeof ResizeObserver;
window.matchMedia ??= ((query: string) => ({
  matches: false,
  media: query,
  onchange: null,
  addEventListener() {},
  removeEventListener() {},
  addListener() {},
  removeListener() {},
  dispatchEvent: () => false,
})) as unknown as typeof window.matchMedia;
// Fields that grow with their text listen for fonts that arrive later.
Object.defineProperty(document, 'fonts', { configurable: true, value: { addEventListener() {}, removeEventListener() {} } });
