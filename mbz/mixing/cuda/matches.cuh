// Match models (../matches.py): where the last bytes were seen before, in any lane.

// The entries of a match in m.matches, one i64 each.
#define MATCH_WIDTH (A_HEAD + 1)

__device__ i64* match_of(const Memory& m, int lane, int k) {
  return m.matches + (lane * m.models + k) * MATCH_WIDTH;
}

// Class of a match length, 0 .. 15.
__device__ int class_of(i64 length) {
  if (length < 8) return (length + 1) >> 1;
  if (length < 32) return 4 + ((length - 8) >> 2);
  if (length < 64) return 10 + ((length - 32) >> 4);
  if (length < 512) return 12 + (length >= 128) + (length >= 256);
  return 15;
}

// A warp takes the candidates of model k for all lanes, in their order, as they share its heads.
__device__ void exchange_heads(const Memory& m, int k, i64 t, int lanes, int thread) {
  if (t < m.match_bytes[k]) return;
  int* heads = m.match_heads + (i64)k * m.heads;
  for (int first = 0; first < lanes; first += 32) {
    int lane = first + thread;
    bool is = lane < lanes;
    int head = is ? (int)match_of(m, lane, k)[A_HEAD] : 0;
    u32 same = __match_any_sync(ALL, is ? head : -1);
    u32 before = is ? same & ((1u << thread) - 1) : 0;
    int candidate = is ? heads[head] : 0;
    if (before) candidate = (int)(m.starts[first + 31 - __clz(before)] + t);
    __syncwarp();
    if (is) m.candidates[lane * m.models + k] = candidate;
    if (is && same >> thread == 1) heads[head] = (int)(m.starts[lane] + t);
    __syncwarp();
  }
}

// Bytes alike before both positions, at most A_VERIFIED.
__device__ i64 alike(const Memory& m, i64 position, i64 start, i64 own, i64 own_start) {
  i64 most = min(min(position - start, own - own_start), (i64)A_VERIFIED), n = 0;
  while (n < most && m.past[position - 1 - n] == m.past[own - 1 - n]) n++;
  return n;
}

// The lane that holds a position; longer lanes come first and differ by one byte.
__device__ int lane_of(const Memory& m, i64 position) {
  int lane = min((int)((u32)position / (u32)(m.starts[1] - m.starts[0])), m.lanes - 1);
  while (m.starts[lane + 1] <= position) lane++;
  return lane;
}

// Drops a match that knows no byte, looks for a new one.
__device__ void find_match(const Memory& m, int lane, int k, i64 t) {
  i64 start = m.starts[lane], own = start + t, least = m.match_bytes[k];
  i64* match = match_of(m, lane, k);
  if (t >= least) {
    i64 candidate = m.candidates[lane * m.models + k];
    if (match[A_LENGTH] < 16 && candidate && candidate != match[A_POSITION]) {
      int its = lane_of(m, candidate);
      if (candidate - m.starts[its] < t) {
        i64 n = alike(m, candidate, m.starts[its], own, start);
        if (n >= least && n > match[A_LENGTH]) {
          match[A_POSITION] = candidate, match[A_LANE] = its, match[A_LENGTH] = n;
          match[A_MISSES] = 0;
        }
      }
    }
  }
  if (match[A_POSITION] && match[A_POSITION] - m.starts[match[A_LANE]] >= t)
    match[A_POSITION] = match[A_LENGTH] = 0;
}

// What the first model that has a match expects.
__device__ void expect_byte(const Memory& m, int lane) {
  i64 expected = 0;
  for (int k = 0; k < m.models && !expected; k++) {
    const i64* match = match_of(m, lane, k);
    if (match[A_POSITION])
      expected = m.past[match[A_POSITION]] | (i64)(class_of(match[A_LENGTH]) + 1) << 8;
  }
  row_of(m, lane)[F_EXPECTED] = expected;
}

// Inputs of a model; returns 2 * (length class + 1) + bit, or 0 where it has none.
__device__ int match_inputs(const Memory& m, int lane, int k, int bit, int partial, int* x) {
  i64* match = match_of(m, lane, k);
  x[0] = x[1] = x[2] = 0;
  match[A_KEY] = -1;
  if (!match[A_POSITION]) return 0;
  int byte = m.past[match[A_POSITION]] | 256;
  if (byte >> (8 - bit) != partial) return 0;
  int y = byte >> (7 - bit) & 1, length = class_of(match[A_LENGTH]);
  int key = length << 5 | (int)min(match[A_MISSES], (i64)3) << 3 | bit;
  int p = chance(m.match_chance[k << 10 | key]), st = m.stretch[p];
  x[0] = y ? st : -st;
  x[1] = (y ? p - 32768 : 32768 - p) >> 4;
  match[A_KEY] = key << 1 | y;
  key = length << 11 | bit << 8 | (byte & 255);
  match[A_BYTE_KEY] = key;
  st = m.stretch[chance(m.match_byte_chance[k << 15 | key])];
  x[2] = y ? st : -st;
  return (length + 1) << 1 | y;
}

// A warp learns the bits of all lanes in some models.
__device__ void learn_matches(const Bit& b, int job, int lanes, int thread) {
  const Memory& m = b.m;
  for (int first = 0; first < lanes; first += 32) {
    const auto [k, lane, given] = share_of(job, m.models, first, lanes, thread);
    const i64* match = match_of(m, lane, k);
    int key = given ? (int)match[A_KEY] : -1;
    bool is = key >= 0;
    u32 hits = __ballot_sync(ALL, is && (key & 1) == b.bits[lane]);
    int byte_key = is ? (int)match[A_BYTE_KEY] : 0;
    Turn turns[2] = {
        open_turn(m.match_chance, is, k << 10 | key >> 1, thread),
        open_turn(m.match_byte_chance, is, k << 15 | byte_key, thread),
    };
    close_turns(m, turns, {hits, hits}, {255, 255});
    __syncwarp();
  }
}

// After the byte at step t: moves on.
__device__ void follow_match(const Memory& m, int lane, int k, i64 t) {
  i64* match = match_of(m, lane, k);
  if (!match[A_POSITION]) return;
  if (m.past[match[A_POSITION]] == m.past[m.starts[lane] + t]) {
    match[A_LENGTH] = min(match[A_LENGTH] + 1, (i64)A_MOST);
  } else {
    match[A_LENGTH] = 0;
    match[A_MISSES]++;
  }
  match[A_POSITION]++;
  if (match[A_POSITION] == m.starts[match[A_LANE] + 1]) match[A_LANE]++;
  if (match[A_MISSES] > A_GIVE_UP || match[A_POSITION] == m.starts[m.lanes])
    match[A_POSITION] = match[A_LENGTH] = 0;
}

// Where the hashes of the last bytes say when they were here.
__device__ void approach_matches(const Memory& m, int lane, i64 t) {
  i64 own = m.starts[lane] + t, h = 0;
  int n = 0;
  for (int k = m.models - 1; k >= 0; k--) {
    i64 number = m.match_bytes[k];  // from the least on
    if (t + 1 < number) continue;
    for (; n < number; n++) h = joined(h, m.past[own - n]);
    i64 head = h * F_MIX >> 16 & (m.heads - 1);
    match_of(m, lane, k)[A_HEAD] = head;
    fetch(m.match_heads + (i64)k * m.heads + head);
  }
}
