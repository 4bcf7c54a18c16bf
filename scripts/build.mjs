/**
 * Bundles the program into dist/ for the image: one entry, and a chunk for each subcommand, so that a sidecar reads no
 * code of the control plane. Native code cannot be bundled and lies beside it.
 *
 *   node scripts/build.mjs [entry] [folder]
 */
import { copyFileSync, existsSync, mkdirSync, readdirSync, rmSync, statSync } from 'node:fs';
import { join, relative, resolve } from 'node:path';
import process from 'node:process';
import { build } from 'esbuild';

const root = resolve(import.meta.dirname, '..');

/** koffi looks for its native file among all platforms' packages; in the bundle there is one place to look. */
const koffiBesideBundle = {
  name: 'koffi beside the bundle',
  setup(builder) {
    builder.onLoad({ filter: /\/koffi\/src\/koffi\/src\/static\.js$/ }, () => ({
      contents: `
        import { createRequire } from 'node:module';
        export const loadStatic = (platform) =>
          createRequire(import.meta.url)('./native/koffi-' + platform + '/koffi.node');`,
    }));
  },
};

async function bundle(entry, folder) {
  const { metafile } = await build({
    absWorkingDir: root,
    entryPoints: { main: entry },
    outdir: folder,
    bundle: true,
    splitting: true,
    minify: true,
    format: 'esm',
    platform: 'node',
    target: 'node24',
    outExtension: { '.js': '.mjs' },
    chunkNames: '[name]-[hash]',
    sourcemap: 'linked',
    legalComments: 'linked',
    metafile: true,
    // CommonJS packages call a require() that ES modules do not have.
    banner: { js: "import { createRequire as __cr } from 'node:module'; const require = __cr(import.meta.url);" },
    plugins: [koffiBesideBundle],
    logLevel: 'warning',
  });
  return Object.keys(metafile.outputs);
}

/** Every platform that npm installed, in the build for glibc: so is the Node.js of the image. */
function copyKoffi(folder) {
  const packages = join(root, 'node_modules/@koromix');
  return readdirSync(packages).flatMap((name) => {
    const native = join(packages, name, name.replace('koffi-', '').replace('-', '_'), 'koffi.node');
    if (!existsSync(native)) return [];
    const copy = join(folder, 'native', name, 'koffi.node');
    mkdirSync(resolve(root, copy, '..'), { recursive: true });
    copyFileSync(native, resolve(root, copy));
    return [copy];
  });
}

const [entry = 'src/main.ts', folder = 'dist'] = process.argv.slice(2);
rmSync(resolve(root, folder), { recursive: true, force: true });
const files = [...(await bundle(entry, folder)), ...copyKoffi(folder)];
for (const file of files.sort()) {
  const kilobytes = Math.ceil(statSync(resolve(root, file)).size / 1024);
  console.log(`${String(kilobytes).padStart(6)} KiB  ${relative(process.cwd(), resolve(root, file))}`);
}
