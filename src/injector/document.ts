import { captureSettings } from '../annotations.ts';
import { defaultOf } from '../config/document.ts';
import { flagOf } from '../config/setting.ts';
import { agentTable } from '../config/table.ts';
import { added } from './names.ts';
import { optIn, resourceAnnotations, switches } from './options.ts';
import { cpu, memory } from './quantity.ts';
import { injectionTable, podSettings } from './settings.ts';

/** The reference of the injector's settings and of the annotations of pods, as docs/injection-settings.md carries it; Markdown. */
export function injectionDocument(): string {
  return [...preamble, ...settingRows(), '', ...annotations, ...annotationRows(), ''].join('\n');
}

const preamble = [
  '# Settings of the injector',
  '',
  '<!-- Made from src/injector/settings.ts and src/injector/options.ts; a test compares both. -->',
  '',
  'What an operator decides about every sidecar: a YAML file that `remora inject --settings FILE` and `remora control-plane --injection FILE`',
  'read, or flags of `remora inject`, which override it. A name that is not a setting is refused, and so is a value of the wrong kind; all',
  'problems are listed at once. Two settings have no usable default:',
  '',
  '```yaml',
  'image: registry.example.com/remora:0.1.0',
  'meshNetworks: [10.0.0.0/8, "fd00::/8"]   # the ranges of pods and of Services',
  '```',
  '',
  '| key, flag | value | default | decides |',
  '|---|---|---|---|',
];

function settingRows(): string[] {
  return Object.entries(injectionTable).map(([name, setting]) =>
    row(`\`${name}\`<br>\`--${flagOf(name)}\``, setting.kind.expected, defaultOf(setting), setting.does),
  );
}

const annotations = [
  '# Labels and annotations of a pod',
  '',
  'What whoever deploys a pod may decide. An annotation below `remora.dev/` or `traffic.sidecar.istio.io/` that is not in this list is refused,',
  'because a typo would be a silent hole; another one below `sidecar.istio.io/` has no effect, and a warning says so.',
  '',
  '| label or annotation | value | decides |',
  '|---|---|---|',
];

const exclusion =
  'needs the namespace among `exclusionNamespaces`; no empty list, not every port, no range wider than /8 or, in IPv6, /16';

function annotationRows(): string[] {
  const capture = Object.values(captureSettings).map(({ annotation, flag }) => {
    const isFree = annotation.endsWith('includeOutboundPorts');
    return row(code(annotation), 'as in Istio', `\`remora init ${flag}\`${isFree ? '' : `; ${exclusion}`}`);
  });
  const resources = Object.entries(resourceAnnotations).map(([name, annotation]) =>
    row(code(annotation), (name.startsWith('cpu') ? cpu : memory).expected, `\`${name}\` of this pod`),
  );
  return [
    row(
      `${code(optIn[0])}, label`,
      '`true` or `false`; `enabled` and `disabled` are the same',
      `whether the pod gets a sidecar; on a namespace it decides for pods without the label. ${code(optIn[1])}, label or annotation, counts where it is absent`,
    ),
    ...podSettings.map((name) =>
      row(code(`remora.dev/${flagOf(name)}`), agentTable[name].kind.expected, agentTable[name].does),
    ),
    ...resources,
    row(code(switches.nativeSidecar), '`true` or `false`', '`sidecarMode` of this pod'),
    row(
      code(switches.rewriteProbes),
      '`true` or `false`',
      'whether probes and hooks go through the sidecar (default true); if not, under STRICT the kubelet is refused',
    ),
    row(code(switches.mergeMetrics), '`true` or `false`', '`mergeMetrics` of this pod'),
    ...capture,
    row(code(added.injected), 'a version', 'nothing: the injector writes it'),
  ];
}

const code = (text: string) => `\`${text}\``;

function row(...cells: readonly string[]): string {
  return `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
}
