// The level of a tank: smoothed, its rate, and whether it will run over.
//
// For each sample x, one a second:
//
//     level += (x - level) / 8                 the first sample is the level
//     rate  += (level - level before - rate) / 8
//     alarm  = level + 60 rate > 0.95          it is full within a minute; off again below 0.90
//
// Written from docs/abi.md alone: the exports, the regions, and the message of a trap. There is no SDK for
// AssemblyScript; the card is card.json, which `dunlin card set` puts into the module.
// Status 1: the sample is NaN or infinite; nothing is changed.

const OK: i32 = 0;
const NOT_FINITE: i32 = 1;

// Regions: static memory at multiples of 16. `memory.data` is an address known to the compiler.
const sample: usize = memory.data(4, 16);
const smooth: usize = memory.data(4, 16);
const rising: usize = memory.data(4, 16);
const alarmed: usize = memory.data(1, 16);

// {len: u32, UTF-8 of at most 256 bytes}
const message: usize = memory.data(4 + 256, 4);

let begun: bool = false;
let level: f32 = 0;
let rate: f32 = 0;
let alarm: bool = false;

export function dunlin_input(index: i32): usize {
  assert(index == 0, "the card has one input");
  return sample;
}

export function dunlin_output(index: i32): usize {
  if (index == 0) return smooth;
  if (index == 1) return rising;
  assert(index == 2, "the card has three outputs");
  return alarmed;
}

export function dunlin_error(): usize {
  return message;
}

export function dunlin_reset(): void {
  begun = false;
  level = 0;
  rate = 0;
  alarm = false;
}

export function dunlin_infer(n: i32): i32 {
  assert(n == 1, "a stream has one sample a call");
  const x = load<f32>(sample);
  if (!isFinite(x)) return NOT_FINITE;
  const before = begun ? level : x;
  level = before + (x - before) / 8;
  rate += (level - before - rate) / 8;
  begun = true;
  const ahead = level + 60 * rate;
  alarm = ahead > (alarm ? <f32>0.9 : <f32>0.95);
  store<f32>(smooth, level);
  store<f32>(rising, rate);
  store<u8>(alarmed, alarm ? 1 : 0);
  return OK;
}

// What AssemblyScript calls where it would throw: `--use abort=tank/abort` keeps it from being an import. The host
// reads the message after the trap.
function abort(text: string | null, file: string | null, line: u32, column: u32): void {
  if (text) {
    // A UTF-16 unit takes at most 3 bytes of UTF-8.
    const length = min(text.length, 256 / 3);
    const bytes = String.UTF8.encodeUnsafe(changetype<usize>(text), length, message + 4);
    store<u32>(message, <u32>bytes);
  }
  unreachable();
}
