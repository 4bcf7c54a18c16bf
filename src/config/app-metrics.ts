import { parsePort } from '../addresses.ts';
import { scalar } from './kinds.ts';

/** Where an application serves its metrics, over HTTP. */
export interface AppMetricsPlace {
  readonly port: number;
  /** With its slash in front, and its query if there is one. */
  readonly path: string;
}

/** RFC 3986 without the dollar sign, which Kubernetes would take for a variable among the arguments of a container. */
const pathOf = /^\/[\w.~!&'()*+,;=:@%/?-]{0,1023}$/;

/** A port and a path, written as one: `9102/metrics`. */
export const appMetricsPlace = scalar<AppMetricsPlace>({
  name: 'the place of metrics',
  expected: 'a port and a path such as 9102/metrics',
  placeholder: 'port/path',
  parse(text) {
    const slash = text.indexOf('/');
    const port = parsePort(text.slice(0, Math.max(slash, 0)));
    const path = text.slice(slash);
    return port === undefined || !pathOf.test(path) ? undefined : { port, path };
  },
  show: ({ port, path }) => `${port}${path}`,
});
