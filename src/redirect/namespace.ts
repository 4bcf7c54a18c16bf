import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { access } from 'node:fs/promises';
import { ConfigurationError, codeOf, PermissionError, UnavailableError } from '../errors.ts';
import type { Host } from '../host.ts';

/** Where `ip netns` keeps the namespaces that it named. */
const namedNamespaces = '/run/netns';

/** The file of a network namespace that is given by its name or by its path. */
export function namespacePath(nameOrPath: string): string {
  return nameOrPath.includes('/') ? nameOrPath : `${namedNamespaces}/${nameOrPath}`;
}

/**
 * Runs `remora init` again inside of another network namespace: not only nft has to be there, but also the sockets that
 * prove the rules. Resolves with its exit code.
 */
export async function runInNamespace(nameOrPath: string, args: readonly string[], host: Host): Promise<number> {
  const path = namespacePath(nameOrPath);
  await access(path).catch((error: unknown) => {
    throw new ConfigurationError(
      `--netns is '${nameOrPath}', expected a network namespace, but ${path} cannot be opened`,
      { cause: error },
    );
  });
  const child = spawn('nsenter', [`--net=${path}`, '--', ...host.program, 'init', ...args], {
    env: host.env,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  child.stdout.pipe(host.stdout, { end: false });
  const stderr: Buffer[] = [];
  child.stderr.on('data', (chunk: Buffer) => stderr.push(chunk));
  const [code] = await ended(child);
  const text = Buffer.concat(stderr).toString();
  if (text.startsWith('nsenter: '))
    throw new PermissionError(`Cannot enter ${path} (${text.trim()}), expected the capability SYS_ADMIN`);
  host.stderr.write(text);
  return code;
}

async function ended(child: ReturnType<typeof spawn>): Promise<[code: number]> {
  try {
    const [code] = (await once(child, 'close')) as [number | null];
    return [code ?? 1];
  } catch (error) {
    if (codeOf(error) !== 'ENOENT') throw error;
    throw new UnavailableError('nsenter is not on the PATH, expected the package util-linux to be installed', {
      cause: error,
    });
  }
}
