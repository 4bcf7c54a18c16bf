/**
 * Bundles the program into dist/: one entry, and a chunk for each subcommand, so that a sidecar reads no code of the
 * control plane. Native code cannot be bundled and lies beside it.
 *
 *   node scripts/build.mjs [entry] [folder] [--image] [--cpu x64|arm64]
 *
 * `--image` leaves out what a container does not need: source maps, which are two thirds of all bytes, and the demo. With
 * `--cpu` the native code is for that CPU, whatever this machine's is.
 */
import { mkdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join, relative, resolve } from 'node:path';
import process from 'node:process';
import { parseArgs } from 'node:util';
import { build } from 'esbuild';
import { copyKoffi } from './build/koffi.mjs';
import { licenseTexts } from './build/licenses.mjs';

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

/** The demo makes network namespaces as root, and has no place beside a payment service. */
const withoutDemo = {
  name: 'without the demo',
  setup(builder) {
    builder.onLoad({ filter: /\/src\/cli\/demo\/command\.ts$/ }, () => ({
      loader: 'ts',
      resolveDir: join(root, 'src/cli/demo'),
      contents: `
        import { UnavailableError } from '../../errors.ts';
        export const run = async () => {
          throw new UnavailableError('The demo is not part of the image, expected a checkout of Remora: run npm start there');
        };`,
    }));
  },
};

async function bundle(entry, folder, isForImage) {
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
    sourcemap: isForImage ? false : 'linked',
    legalComments: 'none',
    metafile: true,
    // CommonJS packages call a require() that ES modules do not have.
    banner: { js: "import { createRequire as __cr } from 'node:module'; const require = __cr(import.meta.url);" },
    plugins: isForImage ? [koffiBesideBundle, withoutDemo] : [koffiBesideBundle],
    logLevel: 'warning',
  });
  return metafile;
}

/** The licences of what is in the bundle; comments in the code would be only those that a package happens to have there. */
function writeLicenses(folder, inputs) {
  const path = join(folder, 'THIRD-PARTY-LICENSES.txt');
  mkdirSync(resolve(root, folder), { recursive: true });
  writeFileSync(resolve(root, path), licenseTexts(root, inputs));
  return path;
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { image: { type: 'boolean', default: false }, cpu: { type: 'string' } },
});
const [entry = 'src/main.ts', folder = 'dist'] = positionals;
rmSync(resolve(root, folder), { recursive: true, force: true });
const { inputs, outputs } = await bundle(entry, folder, values.image);
const files = [
  ...Object.keys(outputs),
  writeLicenses(folder, Object.keys(inputs)),
  ...copyKoffi({ root, folder, cpu: values.cpu }),
];
for (const file of files.sort()) {
  const kilobytes = Math.ceil(statSync(resolve(root, file)).size / 1024);
  console.log(`${String(kilobytes).padStart(6)} KiB  ${relative(process.cwd(), resolve(root, file))}`);
}
