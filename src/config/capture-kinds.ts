import type { CaptureScope, CaptureSetting, PortRange } from '../annotations.ts';
import { parseCaptureSetting } from '../annotations.ts';
import type { Kind } from './kinds.ts';

/** A setting of the redirect rules, written as an annotation or `remora init` writes it. */
export function captureList<Name extends CaptureSetting>(name: Name): Kind<CaptureScope[Name]> {
  const isPorts = name.endsWith('Ports');
  const mayBeAll = name.startsWith('include') && name !== 'includeOutboundPorts';
  const expected = isPorts
    ? 'ports from 1 to 65535 or ranges such as 9000-9100'
    : 'addresses or CIDR ranges such as 10.0.0.0/8';
  return {
    name: isPorts ? 'a list of ports' : 'a list of ranges',
    expected: mayBeAll ? `${expected}, or *` : expected,
    placeholder: isPorts ? 'ports' : 'ranges',
    suffix: '',
    inFile: 'string',
    isList: true,
    show: shown,
    suggest: () => undefined,
    read(texts) {
      const text = texts.join(',');
      const parsed = parseCaptureSetting(name, text);
      return parsed.kind === 'value' ? parsed : { kind: 'bad', text, expected: parsed.expected };
    },
  };
}

function shown(value: '*' | readonly PortRange[] | readonly string[]): string {
  if (value === '*') return value;
  return value.map((one) => (typeof one === 'string' ? one : portText(one))).join(',');
}

function portText({ first, last }: PortRange): string {
  return first === last ? `${first}` : `${first}-${last}`;
}
