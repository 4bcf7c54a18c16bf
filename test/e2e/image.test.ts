import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { version } from '../../src/version.ts';
import { buildah, imageOfThisCheckout } from '../support/podman/image-store.ts';
import { isOnPath } from '../support/pods.ts';

/*
 * Goal: the image is what docs/image.md promises. Method: the real build, on the stand-in for its base, which is made
 * where no registry of images can be reached; then the image's settings, its layers, and programs run in it.
 */

const root = resolve(import.meta.dirname, '../..');
const missing = ['buildah', 'debootstrap'].filter((tool) => !isOnPath(tool));
const skipped =
  process.getuid?.() !== 0 ? 'needs root' : missing.length > 0 ? `needs ${missing.join(', ')}` : undefined;

describe.skipIf(skipped !== undefined)('The image', () => {
  const container = `remora-test-${process.pid}-image`;
  let folder: string;
  let image: string;
  let layers: string[][];

  beforeAll(async () => {
    image = await imageOfThisCheckout();
    folder = mkdtempSync(join(tmpdir(), 'remora-test-image-'));
    buildah('push', '--quiet', '--disable-compression', image, `dir:${folder}`);
    const manifest: { layers: { digest: string }[] } = JSON.parse(readFileSync(join(folder, 'manifest.json'), 'utf8'));
    layers = manifest.layers.map(({ digest }) => filesOf(join(folder, digest.replace('sha256:', ''))));
    buildah('from', '--quiet', '--pull-never', `--name=${container}`, image);
  }, 600_000);

  afterAll(() => {
    if (image === undefined) return;
    buildah('rm', container);
    rmSync(folder, { recursive: true });
  });

  function filesOf(tarball: string): string[] {
    return execFileSync('tar', ['-tf', tarball], { encoding: 'utf8', maxBuffer: 1 << 26 })
      .trim()
      .split('\n');
  }

  const inside = (...command: string[]) => buildah('run', '--isolation=chroot', container, '--', ...command);

  interface Settings {
    readonly User: string;
    readonly Entrypoint: string[];
    readonly Cmd?: string[];
    readonly WorkingDir: string;
    readonly Labels: Record<string, string>;
  }

  function settings(): Settings {
    return JSON.parse(buildah('inspect', '--type=image', image)).OCIv1.config;
  }

  interface Sbom {
    readonly bomFormat: string;
    readonly components: readonly { readonly name: string; readonly version: string; readonly hashes?: unknown[] }[];
  }

  const sbom = (): Sbom => JSON.parse(inside('cat', '/opt/remora/sbom.cdx.json'));

  it("runs as the sidecar's user unless told otherwise", () => {
    expect(settings().User).toBe('1337:1337');
    expect(inside('id', '-u').trim()).toBe('1337');
    expect(inside('id', '-g').trim()).toBe('1337');
  });

  it('starts remora, and takes its subcommand as argument', () => {
    const { Entrypoint, Cmd, WorkingDir } = settings();
    expect({ Entrypoint, Cmd, WorkingDir }).toEqual({ Entrypoint: ['remora'], Cmd: undefined, WorkingDir: '/' });
    expect(inside('remora', '--version')).toBe(`${version}\n`);
  });

  it('says what it is in labels of the OCI', () => {
    const labels = settings().Labels;
    expect(labels).toMatchObject({
      'org.opencontainers.image.title': 'Remora',
      'org.opencontainers.image.licenses': 'Apache-2.0',
      'org.opencontainers.image.version': version,
    });
    expect(labels['org.opencontainers.image.description']).toMatch(/SPIFFE/);
  });

  it('adds one layer of at most 5 MB to its base, which is only the program', () => {
    const tarball = layers.at(-1) ?? [];
    const files = tarball.filter((path) => !path.endsWith('/'));
    expect(files.length).toBeGreaterThan(5);
    expect(files.filter((path) => !/^(opt\/remora\/.+|usr\/local\/bin\/remora)$/.test(path))).toEqual([]);
    const bytes = Number(
      inside('sh', '-c', 'find /opt/remora -type f -printf "%s\\n" | paste -sd+ | xargs -I{} sh -c \'echo $(({}))\''),
    );
    expect(bytes).toBeLessThan(5_000_000);
  });

  it('holds no source, source map, test, demo or package manager', () => {
    const files = layers.at(-1) ?? [];
    expect(files.filter((path) => /\.(map|ts)$|node_modules|mesh-|test/.test(path))).toEqual([]);
    expect(files.filter((path) => /koffi\.node$/.test(path))).toHaveLength(1);
    expect(inside('sh', '-c', 'for tool in npm npx yarn corepack; do command -v $tool; done; true')).toBe('');
    expect(() => inside('remora', 'demo')).toThrow(/The demo is not part of the image/);
  });

  it('lists in its SBOM every package with code in the bundle, and every production dependency, with its digest', () => {
    const { bomFormat, components } = sbom();
    const listed = components.map(({ name, version }) => `${name}@${version}`);
    const bundled = [...inside('cat', '/opt/remora/THIRD-PARTY-LICENSES.txt').matchAll(/^={80}\n(\S+) (\S+) \(/gm)];
    expect(bomFormat).toBe('CycloneDX');
    expect(bundled.length).toBeGreaterThan(10);
    expect(listed).toEqual(expect.arrayContaining(bundled.map(([, name, version]) => `${name}@${version}`)));
    expect(listed).toEqual(expect.arrayContaining(locked('dependencies').map(({ id }) => id)));
    expect(components.filter(({ hashes }) => hashes?.length !== 1)).toEqual([]);
  });

  it('lists in its SBOM no tool of the build, and nothing of other platforms', () => {
    const names = sbom().components.map(({ name, version }) => `${name}@${version}`);
    const tools = locked('devDependencies').filter(({ isForTools }) => isForTools);
    expect(tools.length).toBeGreaterThan(5);
    expect(names.filter((name) => tools.some(({ id }) => id === name))).toEqual([]);
    expect(names.filter((name) => /^(typescript|node-linux|@typescript|@esbuild|@biomejs|vite)/.test(name))).toEqual(
      [],
    );
    expect(names.filter((name) => name.startsWith('@koromix/'))).toEqual([
      expect.stringMatching(`^@koromix/koffi-linux-${process.arch}@`),
    ]);
  });

  it('has nft and ip, and prints the rules of a pod without a right to change any', () => {
    expect(inside('nft', '--version')).toMatch(/^nftables v/);
    expect(inside('ip', '-V')).toMatch(/^ip utility/);
    expect(inside('remora', 'init', '--dry-run')).toMatch(/^add table inet remora\n/);
  });

  it("shows the settings of the sidecar as the sidecar's user", () => {
    expect(inside('remora', 'agent', '--help')).toMatch(/^Usage: remora agent/);
  });

  it('keeps the licences of everything that is in the bundle', () => {
    const licenses = inside('cat', '/opt/remora/THIRD-PARTY-LICENSES.txt');
    for (const name of ['koffi', 'undici', 'pino', 'prom-client'])
      expect(licenses).toMatch(new RegExp(`^${name} \\d`, 'm'));
    expect(inside('cat', '/opt/remora/LICENSE')).toContain('Apache License');
  });
});

/** The direct dependencies of one kind as the lockfile has them; for tools only, when no other package needs them. */
function locked(kind: 'dependencies' | 'devDependencies') {
  const { packages } = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8'));
  return Object.keys(packages[''][kind]).map((name) => {
    const { version, dev, devOptional } = packages[`node_modules/${name}`];
    return { id: `${name}@${version}`, isForTools: Boolean(dev || devOptional) };
  });
}
