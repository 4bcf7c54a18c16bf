import { codeOf, FailureError, messageOf, PermissionError } from './errors.ts';

/** What the operator can do about a listener that could not be bound; `name` is its address. */
export function bindError(name: string, error: unknown): Error {
  switch (codeOf(error)) {
    case 'EADDRINUSE':
      return new FailureError(`${name} is in use by another process, expected it to be free`, { cause: error });
    case 'EACCES':
      return new PermissionError(`${name} may not be bound by this user, expected a port above 1023`, { cause: error });
    case 'EADDRNOTAVAIL':
      return new FailureError(`${name} is not an address of this host`, { cause: error });
    default:
      return new FailureError(`${name} cannot be bound: ${messageOf(error)}`, { cause: error });
  }
}
