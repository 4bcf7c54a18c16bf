import { readBoundedFile } from '../bounded-file.ts';
import type { Clock, Timer } from '../clock.ts';
import { ConfigurationError, messageOf } from '../errors.ts';
import type { Log } from '../log.ts';
import { octal } from './authority-files.ts';
import type { TokenKeys } from './token-keys.ts';
import { parseTokenKeys, tokenKeyLimits } from './token-keys.ts';

/** Keys of a file, always those of its last good content. */
export interface TokenKeyFile {
  current(): TokenKeys;
  close(): void;
}

/** A cluster publishes a new key long before it signs with it. */
export const tokenKeyPollIntervalMs = 10_000;

/**
 * Reads the keys, and again when the file has changed: content that is bad is logged once, and the keys in use stay.
 * Throws `ConfigurationError` with every problem when it is bad from the beginning.
 */
export async function openTokenKeyFile(
  { clock, log }: { readonly clock: Clock; readonly log: Log },
  path: string,
): Promise<TokenKeyFile> {
  let text = await readText(path);
  let keys = keysIn(path, text);
  let lastFailure = '';
  let isClosed = false;
  let timer: Timer | undefined;

  const look = async () => {
    const latest = await readText(path);
    const hasChanged = latest !== text;
    if (hasChanged) keys = keysIn(path, latest);
    text = latest;
    lastFailure = '';
    if (hasChanged) log.info({ path, keyIds: keys.jwks.keys.map(({ kid }) => kid) }, 'Token keys read');
  };
  const fail = (error: unknown) => {
    const why = messageOf(error);
    if (why !== lastFailure && !isClosed) log.error({ path, why }, 'The token keys cannot be read, those in use stay');
    lastFailure = why;
  };
  const poll = () => {
    timer = clock.after(tokenKeyPollIntervalMs, () => {
      look()
        .catch(fail)
        .finally(() => {
          if (!isClosed) poll();
        });
    });
  };
  poll();
  return {
    current: () => keys,
    close() {
      isClosed = true;
      timer?.cancel();
    },
  };
}

function keysIn(path: string, text: string): TokenKeys {
  const parsed = parseTokenKeys(text);
  if (parsed.kind === 'keys') return parsed.keys;
  throw new ConfigurationError(parsed.problems.map((problem) => `${path}: ${problem}`));
}

async function readText(path: string): Promise<string> {
  try {
    const refusal = ({ mode }: { readonly mode: number }) =>
      (mode & 0o002) === 0 ? undefined : `can be written by everybody (mode ${octal(mode)})`;
    return (await readBoundedFile(path, tokenKeyLimits.bytes, refusal)).toString();
  } catch (error) {
    throw new ConfigurationError(`${messageOf(error)}, expected the JWK set of the cluster`, { cause: error });
  }
}
