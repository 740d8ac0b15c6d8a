import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import react from '@vitejs/plugin-react';
import type { Plugin } from 'vite';
import { defineConfig } from 'vitest/config';

/** Address of the control plane (or of the mock server) that `npm run dev` talks to. */
const backend = process.env.BATON_API ?? 'http://127.0.0.1:8400';

/** Files smaller than this gain nothing from compression. */
const gzipFromBytes = 2048;

/** Keeps dist/.gitkeep, which lets the Go code build without Node, and adds .gz siblings for the Go handler. */
function embeddable(): Plugin {
  const compress = async (folder: string): Promise<void> => {
    for (const entry of await readdir(folder, { withFileTypes: true })) {
      const name = join(folder, entry.name);
      if (entry.isDirectory()) await compress(name);
      else if (/\.(js|css|svg)$/.test(entry.name)) {
        const body = await readFile(name);
        if (body.length >= gzipFromBytes) await writeFile(`${name}.gz`, gzipSync(body, { level: 9 }));
      }
    }
  };
  let outDir = 'dist';
  return {
    name: 'baton-embeddable',
    apply: 'build',
    configResolved(config) {
      outDir = config.build.outDir;
    },
    async closeBundle() {
      await compress(outDir);
      await writeFile(join(outDir, '.gitkeep'), '');
    },
  };
}

export default defineConfig({
  plugins: [react(), embeddable()],
  build: {
    target: 'es2022',
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
    chunkSizeWarningLimit: 700,
  },
  server: {
    port: 5173,
    strictPort: true,
    proxy: { '/api': { target: backend, changeOrigin: true } },
  },
  test: {
    css: false,
    testTimeout: 60_000,
    // Most tests are of pure functions and need no page.
    projects: [
      { extends: true, test: { name: 'pure', environment: 'node', include: ['src/**/*.test.ts'] } },
      { extends: true, test: { name: 'page', environment: 'happy-dom', include: ['src/**/*.test.tsx'], setupFiles: ['src/testing/setup.ts'] } },
    ],
  },
});
