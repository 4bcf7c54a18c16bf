import type { Clock } from '../clock.ts';
import { tokenAudience } from '../control-api.ts';
import type { Log } from '../log.ts';
import type { Authority } from './authority.ts';
import { createAuthority } from './authority.ts';
import { openAuthorityDirectory } from './authority-directory.ts';
import type { AuthorityKeys } from './authority-files.ts';
import { createAuthorityKeys } from './authority-files.ts';
import type { ControlPlaneSettings } from './control-plane.ts';
import type { RootPlace } from './rotation.ts';
import { authorityFolder, openStateDirectory } from './state-directory.ts';
import type { TokenIssuer } from './token-issuer.ts';
import { createTokenIssuer, defaultTokenIssuer } from './token-issuer.ts';
import { openTokenKeyFile } from './token-key-file.ts';
import type { TokenKeys } from './token-keys.ts';
import type { TokenReviewer } from './token-review.ts';
import { createTokenReviewer } from './token-review.ts';

/** Who signs, and whose tokens are believed. */
export interface OpenAuthority {
  readonly authority: Authority;
  /** Where its roots are. */
  readonly place: RootPlace;
  /** Its tokens are believed unless the settings name a file of other keys. */
  readonly tokens: TokenIssuer;
  readonly reviewer: TokenReviewer;
  /** Those that tokens are reviewed with now. */
  tokenKeys(): TokenKeys;
  close(): void;
}

/** Throws `ConfigurationError` for keys that cannot be used, and as writing does for those that cannot be kept. */
export async function openAuthority(
  { clock, log }: { readonly clock: Clock; readonly log: Log },
  settings: ControlPlaneSettings,
): Promise<OpenAuthority> {
  const { trustDomain, tokenIssuer: issuer = defaultTokenIssuer(trustDomain) } = settings;
  const { tokenKey, ...roots } = await keysOf(settings, clock.now());
  const authority = createAuthority(roots, clock, {
    trustDomain,
    lifetimeMs: settings.certificateLifetimeMs,
    minimumLifetimeMs: settings.minimumCertificateLifetimeMs,
  });
  const tokens = await createTokenIssuer(tokenKey, issuer, clock);
  const file =
    settings.tokenKeysFile === undefined ? undefined : await openTokenKeyFile({ clock, log }, settings.tokenKeysFile);
  const tokenKeys = () => file?.current() ?? tokens.keys;
  return {
    authority,
    place: placeOf(settings, clock),
    tokens,
    reviewer: createTokenReviewer({ issuer, audience: tokenAudience, keys: tokenKeys }, clock),
    tokenKeys,
    close: () => file?.close(),
  };
}

function keysOf({ trustDomain, keys }: ControlPlaneSettings, nowMs: number): AuthorityKeys | Promise<AuthorityKeys> {
  switch (keys.kind) {
    case 'memory':
      return createAuthorityKeys(trustDomain, nowMs);
    case 'state':
      return openStateDirectory(keys.directory, trustDomain, nowMs);
    case 'authority':
      return openAuthorityDirectory(keys.directory, trustDomain, nowMs);
    default:
      return keys satisfies never;
  }
}

function placeOf({ trustDomain, keys }: ControlPlaneSettings, clock: Clock): RootPlace {
  switch (keys.kind) {
    case 'memory':
      return { kind: 'memory' };
    case 'state': {
      const { directory } = keys;
      const read = () => openStateDirectory(directory, trustDomain, clock.now());
      return { kind: 'files', folder: authorityFolder(directory), read };
    }
    case 'authority':
      return { kind: 'given', folder: keys.directory };
    default:
      return keys satisfies never;
  }
}
