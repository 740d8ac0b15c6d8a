import { readFileSync } from 'node:fs';
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

/** Routes of the server, as "GET /clusters/{id}": parts of pages without theirs are not shown. "*" is all, for the mock server. */
function routes(): string[] {
  if (process.env.BATON_ROUTES === 'all' || process.env.VITEST) return ['*'];
  const document = JSON.parse(readFileSync(new URL('openapi.json', import.meta.url), 'utf8')) as { paths: Record<string, object> };
  return Object.entries(document.paths).flatMap(([path, methods]) => Object.keys(methods).map((m) => `${m.toUpperCase()} ${path.replace('/api/v1', '')}`));
}

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

/**
 * Takes each icon from its own file. The package's index names six thousand:
 * reading them all cost every build some seconds and every test file with a
 * page in it many more.
 */
function singleIcons(): Plugin {
  const from = /import\s*\{([^}]*)\}\s*from\s*'@tabler\/icons-react';/g;
  return {
    name: 'baton-single-icons',
    enforce: 'pre',
    transform(code, id) {
      if (!id.includes('/src/') || !code.includes('@tabler/icons-react')) return null;
      const icons = (names: string) =>
        names
          .split(',')
          .map((n) => n.trim())
          .filter((n) => n !== '' && !n.startsWith('type '))
          .map((n) => `import ${n} from '@tabler/icons-react/dist/esm/icons/${n}.mjs';`)
          .join(' ');
      return { code: code.replace(from, (all, names: string) => icons(names) + '\n'.repeat(all.split('\n').length - 1)), map: null };
    },
  };
}

export default defineConfig({
  plugins: [singleIcons(), react(), embeddable()],
  define: { __BATON_ROUTES__: JSON.stringify(routes()) },
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
    unstubGlobals: true,
    // Files of one project share what they import; each test cleans up after itself.
    isolate: false,
    // Most tests are of pure functions and need no page.
    projects: [
      { extends: true, test: { name: 'pure', environment: 'node', include: ['src/**/*.test.ts'] } },
      { extends: true, test: { name: 'page', environment: 'happy-dom', include: ['src/**/*.test.tsx'], setupFiles: ['src/testing/setup.ts'] } },
    ],
  },
});
