/**
 * Builds the image with buildah, and checks that its application layer is as small as promised. Prints one JSON line:
 * the image's name and what was measured.
 *
 *   npm run image -- [--base IMAGE] [--build-base IMAGE] [--arch amd64|arm64] [--tag NAME]
 *   npm run image -- --stand-in [--mirror URL]      where no registry of images can be reached; as root
 *
 * npm's own configuration and a certificate authority of the place (NODE_EXTRA_CA_CERTS) are given to the build as
 * secrets: they are in no layer of the image.
 */
import { existsSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import process from 'node:process';
import { parseArgs } from 'node:util';
import { largestLayerBytes, measureApplicationLayer } from './image/application-layer.mjs';
import { makeStandIn } from './image/stand-in.mjs';
import { run, runAloud, StepError, succeeds } from './image/tool.mjs';

const root = resolve(import.meta.dirname, '..');

const usage = `npm run image -- [--base IMAGE] [--build-base IMAGE] [--arch amd64|arm64] [--tag NAME]
npm run image -- --stand-in [--mirror URL] [--arch amd64|arm64] [--tag NAME]`;

function readOptions() {
  const { values } = parse({
    options: {
      help: { type: 'boolean', default: false },
      base: { type: 'string' },
      'build-base': { type: 'string' },
      'stand-in': { type: 'boolean', default: false },
      mirror: { type: 'string' },
      arch: { type: 'string' },
      tag: { type: 'string' },
      layers: { type: 'boolean', default: false },
    },
  });
  if (values['stand-in'] && values.base !== undefined)
    throw new StepError('--stand-in is a base of its own: give no --base');
  return values;
}

function parse(config) {
  try {
    return parseArgs(config);
  } catch (error) {
    throw new StepError(`${error.message.split('. ')[0]}, expected\n${usage}`);
  }
}

/** The base for the image and the one for the build stage, which runs on this machine's CPU. */
function bases({ base, 'build-base': buildBase, 'stand-in': isStandIn, arch, mirror }) {
  if (!isStandIn) return { BASE: base, BUILD_BASE: buildBase };
  return { BASE: makeStandIn({ arch, mirror }), BUILD_BASE: buildBase ?? makeStandIn({ mirror }) };
}

function buildArguments(options) {
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  const all = { ...bases(options), VERSION: version, REVISION: revision() };
  return Object.entries(all).flatMap(([name, value]) => (value ? [`--build-arg=${name}=${value}`] : []));
}

/** Empty in a checkout without git; marked where the working tree is not what was committed. */
function revision() {
  const git = ['git', ['-C', root, 'rev-parse', 'HEAD']];
  if (!succeeds(...git)) return '';
  const isClean = run('git', ['-C', root, 'status', '--porcelain', '--', 'src', 'scripts', 'package-lock.json']) === '';
  return isClean ? run(...git) : `${run(...git)}-dirty`;
}

function secrets() {
  const files = {
    npmrc: process.env.npm_config_userconfig ?? join(homedir(), '.npmrc'),
    ca: process.env.NODE_EXTRA_CA_CERTS ?? '',
  };
  return Object.entries(files).flatMap(([id, file]) => (existsSync(file) ? [`--secret=id=${id},src=${file}`] : []));
}

/** A stand-in has its CPU in its name; told the platform, buildah 1.28 looks for both stages' bases on one CPU. */
function target({ arch, 'stand-in': isStandIn }) {
  if (isStandIn) return ['--pull-never', ...(arch === undefined ? [] : [`--build-arg=TARGETARCH=${arch}`])];
  return arch === undefined ? [] : [`--platform=linux/${arch}`];
}

function buildImage(options) {
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  const image = options.tag ?? `localhost/remora:${version}`;
  const how = ['--isolation=chroot', `--layers=${options.layers}`, '--format=oci', ...target(options), ...secrets()];
  runAloud('buildah', ['build', ...how, ...buildArguments(options), `--tag=${image}`, root]);
  const { bytes, compressedBytes } = measureApplicationLayer(image);
  console.log(JSON.stringify({ image, applicationLayerBytes: bytes, compressedBytes }));
  if (bytes > largestLayerBytes) {
    throw new StepError(`The application layer has ${bytes} bytes, expected at most ${largestLayerBytes}`);
  }
}

try {
  const options = readOptions();
  if (options.help) console.log(usage);
  else buildImage(options);
} catch (error) {
  if (!(error instanceof StepError)) throw error;
  process.stderr.write(`remora image: ${error.message}\n`);
  process.exitCode = 1;
}
