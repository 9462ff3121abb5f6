// From all inputs to a chance (../mixers.py): two layers of mixers, last calibrations.

#define MOVED (1 << 19)  // weights stay below

#define MOST_SETS 9

__device__ int limited(int sum) { return min(max(sum >> 8, -LIMIT), LIMIT); }

__device__ int squashed(const Memory& m, int st) { return m.squash[st + LIMIT]; }

// What rows of weights and calibrations go by in a lane, for all bits of a byte.
enum { LAST_BYTE, BEFORE_LAST, KINDS_OF, EXPECTS, FIELD_OF, PART_OF, HASH_OF, KNOWN = 8 };

__device__ void know(const Bit& b, int lane) {
  const i64* row = row_of(b.m, lane);
  int* known = b.known + lane * KNOWN;
  known[LAST_BYTE] = row[F_C1];
  known[BEFORE_LAST] = row[F_C2];
  known[KINDS_OF] = row[F_KINDS] & 511;
  known[EXPECTS] = row[F_EXPECTED] & 255;
  known[FIELD_OF] = min(row[F_FIELD_AT], (i64)7) << 3 | min(row[F_FIELD], (i64)7);
  known[PART_OF] = row[F_PART];
  known[HASH_OF] = joined(row[F_C1] << 8 | row[F_C2], row[F_C3]);
}

// The contexts of the last calibrations, so that memory fetches them.
__device__ void approach_calibrations(const Bit& b, int lane) {
  const int *known = b.known + lane * KNOWN, partial = b.partial[lane];
  int* a = b.refined_at + lane * 4;
  a[1] = partial | known[LAST_BYTE] << 8;
  a[2] = joined((u32)known[HASH_OF], partial) & 0xFFFF;
  a[3] = partial | b.likely[lane] << 8;
  for (int k = 1; k < 4; k++) fetch(b.m.refined + (k << 16 | a[k]) * REFINED);
}

// Inputs of the network, of how sure it is of the bit, 0 to 7.
__device__ void network_inputs(const Bit& b, int lane, int bit, int* x) {
  const Memory& m = b.m;
  int partial = b.partial[lane];
  const u32* counts = m.counts + lane * 257;
  int low = (partial << (8 - bit)) & 255, half = 1 << (7 - bit);
  i64 zero = counts[low + half] - counts[low] + half;
  i64 one = counts[low + 2 * half] - counts[low + half] + half;
  int p = min(max((one << 16) / (zero + one), (i64)1), (i64)65535), st = m.stretch[p];
  x[0] = st;
  x[1] = (p - 32768) >> 4;
  int key = (bit << 8 | partial) * BUCKETS + ((st + 2944) >> 7);
  b.key[lane] = key;
  x[2] = m.stretch[chance(m.network_chance[key])];
  b.sure[lane] = min(abs(st) >> 8, 7);
}

// What rows are chosen by, see `_select` in ../kernel.py. expected: of the first match, or 0.
struct Chooser {
  int partial, bit, length, matched, sure, tier, share, best;
  const int* known;

  __device__ Chooser(const Bit& b, int lane, int bit, int expected)
      : partial(b.partial[lane]), bit(bit), length(expected >> 1), matched(expected & 1),
        sure(b.sure[lane]), tier(min(b.seen[lane] * 8 / max(b.m.experts, 1), 7)),
        known(b.known + lane * KNOWN) {
    const int likely = b.likely[lane];
    const bool agree = (likely | 256) >> (8 - bit) == partial;
    share = agree ? b.share[lane] : 0;
    best = agree ? likely >> (7 - bit) & 1 : 0;
  }

  // The row of weight set s; threads of a warp ask for different ones.
  __device__ int row(int s) const {
    int row = OFFSET_0 + (min(length, 3) << 8 | partial);
    if (s == 1) row = OFFSET_1 + (min(length, 15) << 4 | share);
    if (s == 2) row = OFFSET_2 + (known[LAST_BYTE] << 3 | bit);
    if (s == 3) row = OFFSET_3 + (known[BEFORE_LAST] << 3 | tier);
    if (s == 4) row = OFFSET_4 + (bit << 6 | tier << 3 | sure);
    if (s == 5) row = OFFSET_5 + (bit << 9 | known[KINDS_OF]);
    if (s == 6) row = OFFSET_6 + (min(length, 1) << 9 | matched << 8 | known[EXPECTS]);
    if (s == 7) row = OFFSET_7 + (known[FIELD_OF] << 3 | bit);
    if (s == 8) row = OFFSET_8 + (known[PART_OF] << 3 | bit);
    return row;
  }

  // The same of the second layer.
  __device__ int final_row(int s) const {
    int row = partial;
    if (s == 1) row = FINAL_OFFSET_1 + (min(length, 15) << 4 | sure << 1 | best);
    if (s == 2) row = FINAL_OFFSET_2 + known[LAST_BYTE];
    if (s == 3) row = FINAL_OFFSET_3 + (bit << 6 | tier << 3 | sure);
    return row;
  }
};

// The chance of a mixed logit in calibration k, and the entry that is to learn.
__device__ int calibrated(const Memory& m, int k, int* a, int final) {
  int position = final + REFINED / 2 * REFINED_STEP - REFINED_STEP / 2;
  int low = position / REFINED_STEP;
  u32 share = ((position - low * REFINED_STEP) << 16) / REFINED_STEP;
  int at = (k << 16 | *a) * REFINED + low;
  *a = at + (share >> 15);
  // They hold differences to what they said at first.
  u32 p = (m.refined[at] + m.ramp[low] & 0xFFFF) * (65536 - share);
  p += (m.refined[at + 1] + m.ramp[low + 1] & 0xFFFF) * share;
  return k < 2 ? p >> 16 : p >> 16 << 1;
}

// A warp mixes the inputs of a lane.
__device__ void mix(const Bit& b, int lane, int bit, int thread) {
  const Memory& m = b.m;
  const int *x = b.x + lane * m.width, *chosen = b.chosen + lane * m.sets;
  const int* final_chosen = b.final_chosen + lane * 4;
  int expected = 0;
  for (int k = m.models - 1; k >= 0; k--) {
    int hit = b.hits[lane * m.models + k];
    if (hit) expected = hit;
  }
  const Chooser chooser(b, lane, bit, expected);
  const int row = thread < 16 ? chooser.row(thread) : chooser.final_row(thread - 16);
  if (thread < m.sets) b.chosen[lane * m.sets + thread] = row;
  if (thread >= 16 && thread < 16 + m.finals) b.final_chosen[lane * 4 + thread - 16] = row;
  __syncwarp();
  // Two sets of the second layer at a time, half a warp each. What memory is to give is asked for
  // before it is used.
  int final_weights[2] = {};
#pragma unroll
  for (int n = 0; n < 2; n++)
    if (2 * n < m.finals)
      final_weights[n] = m.final_weights[final_chosen[2 * n + (thread >> 4)] * 16 + (thread & 15)];
  u32 sums[MOST_SETS] = {};
  for (int k = thread; k < m.width / 4; k += 32) {
    const int4 value = ((const int4*)x)[k];
#pragma unroll
    for (int s = 0; s < MOST_SETS; s++) {
      if (s >= m.sets) continue;
      const int4 w = ((const int4*)(m.weights + chosen[s] * m.width))[k];
      sums[s] += (w.x * value.x >> 8) + (w.y * value.y >> 8) + (w.z * value.z >> 8) +
                 (w.w * value.w >> 8);
    }
  }
  int logit = 0;
#pragma unroll
  for (int s = 0; s < MOST_SETS; s++) {
    int sum = __reduce_add_sync(ALL, sums[s]);
    if (thread == s) logit = limited(sum);
  }
  if (thread < 16) b.logits[lane * 16 + thread] = logit;
  if (thread < m.sets) b.outputs[lane * m.sets + thread] = squashed(m, logit);
  logit = __shfl_sync(ALL, logit, thread & 15);
  int final = 0;
#pragma unroll
  for (int n = 0; n < 2; n++) {
    if (2 * n >= m.finals) break;
    int sum = final_weights[n] * logit >> 8;
    for (int far = 8; far; far >>= 1) sum += __shfl_xor_sync(ALL, sum, far);
    int st = limited(sum);
    if ((thread & 15) == 0) b.final_outputs[lane * 4 + 2 * n + (thread >> 4)] = squashed(m, st);
    final += st + __shfl_xor_sync(ALL, st, 16);
  }
  final >>= m.finals >> 1;
  int* a = b.refined_at + lane * 4;
  if (thread == 0) a[0] = b.partial[lane] | min(expected, 31) << 8;
  int all = squashed(m, final);
  u32 total = thread < 4 ? calibrated(m, thread, a + thread, final) : 0;
  total = __reduce_add_sync(ALL, total) + 2 * all;
  if (thread == 0) b.chances[lane] = min(max((int)(total + 4) >> 3, 1), 65535);
}

__device__ int moved(int w, int x, int error) {
  return min(max(w + (x * error + (1 << 15) >> 16), -MOVED), MOVED - 1);
}

__device__ int4 all_moved(int4 w, int4 x, int error) {
  return make_int4(moved(w.x, x.x, error), moved(w.y, x.y, error), moved(w.z, x.z, error),
                   moved(w.w, x.w, error));
}

// A warp learns the bits of all lanes in the rows of one set that they chose.
//
// ROWS: how many rows at a time it asks memory for; WIDE: threads that go through one row, so that
// 32 / WIDE times as many are at work. errors: for each lane and set, `stride` apart. The first lane
// that chose a row learns for all.
template <int ROWS, int WIDE>
__device__ void learn_rows(int* weights, int width, const int* inputs, const int* chosen,
                           const int* errors, int stride, int lanes, int thread) {
  const int k_first = thread % WIDE, team = thread / WIDE, fours = width / 4;
  const int4* x = (const int4*)inputs;
  for (int first = 0; first < lanes; first += 32) {
    const int lane = first + thread;
    const int row = lane < lanes ? chosen[lane * stride] : -1;
    const int error = lane < lanes ? errors[lane * stride] : 0;
    const u32 same = __match_any_sync(ALL, row);
    for (u32 left = __ballot_sync(ALL, lane < lanes && __ffs(same) - 1 == thread); left;) {
      int4* w[ROWS];
      int leader[ROWS], its_error[ROWS];
      u32 others[ROWS];
#pragma unroll
      for (int r = 0; r < ROWS; r++) {
        leader[r] = -1;
#pragma unroll
        for (int n = 0; n < 32 / WIDE; n++) {
          if (n == team && left) leader[r] = __ffs(left) - 1;
          left &= left - 1;
        }
        int its = max(leader[r], 0);
        w[r] = (int4*)(weights + __shfl_sync(ALL, row, its) * width);
        others[r] = __shfl_sync(ALL, same, its) & ~(1u << its);
        its_error[r] = __shfl_sync(ALL, error, its);
      }
      for (int k = k_first; k < fours; k += WIDE) {
        int4 value[ROWS];
#pragma unroll
        for (int r = 0; r < ROWS; r++)
          if (leader[r] >= 0) value[r] = w[r][k];
#pragma unroll
        for (int r = 0; r < ROWS; r++) {
          if (leader[r] < 0) continue;
          value[r] = all_moved(value[r], x[(first + leader[r]) * fours + k], its_error[r]);
          for (u32 more = others[r]; more; more &= more - 1) {
            int its = first + __ffs(more) - 1;
            value[r] = all_moved(value[r], x[its * fours + k], errors[its * stride]);
          }
          w[r][k] = value[r];
        }
      }
    }
    __syncwarp();
  }
}

// How far off the weight sets of all lanes were, instead of what they said, in all threads.
__device__ void find_errors(const Bit& b, i64 t, int lanes) {
  const Memory& m = b.m;
  int rate = R_RATE + R_RATE_AT_FIRST * R_RATE_BYTES / (R_RATE_BYTES + t * m.lanes);
  for (int unit = threadIdx.x; unit < lanes * m.sets; unit += blockDim.x)
    b.outputs[unit] = ((b.bits[unit / m.sets] << 16) - b.outputs[unit]) * rate >> 8;
  for (int unit = threadIdx.x; unit < lanes * 4; unit += blockDim.x)
    b.final_outputs[unit] = ((b.bits[unit / 4] << 16) - b.final_outputs[unit]) >> 1;
}

// A warp learns the bits of all lanes in some of the four calibrations.
__device__ void learn_calibrations(const Bit& b, int job, int lanes, int thread) {
  for (int first = 0; first < lanes; first += 32) {
    const auto [k, lane, is] = share_of(job, 4, first, lanes, thread);
    const int at = is ? b.refined_at[lane * 4 + k] : 0;
    const u32 ones = __ballot_sync(ALL, is && b.bits[lane]);
    u32 same = __match_any_sync(ALL, is ? at : -1);
    if (is && __ffs(same) - 1 == thread) {
      int first_guess = b.m.ramp[at & (REFINED - 1)];
      int q = b.m.refined[at] + first_guess & 0xFFFF;
      for (; same; same &= same - 1) {
        int y = ones >> (__ffs(same) - 1) & 1;
        q = min(max(q + ((((y << 16) - q) * 5 + 128) >> 8), 1), 65535);
      }
      b.m.refined[at] = q - first_guess & 0xFFFF;
    }
    __syncwarp();
  }
}
