// Decodes the range code of docs/format.md, section 8, where the counts are (range_code.py).

typedef long long i64;
typedef unsigned u32;
typedef unsigned long long u64;

#define ALL 0xFFFFFFFFu  // threads of a warp
#define AT_ONCE 16       // lanes whose counts are summed up at a time

struct Job {
  const u32* words;
  u64* state;            // how far the code is above low; the range; the next word
  unsigned char* bytes;  // the content: lanes are pieces of it, the longer ones first
  i64 num_words;
  int lanes, lanes_in_last, first_lane, steps;
};

// Where the share of each byte starts, of one lane.
__device__ void find_starts(const float* counts, u32* starts, int thread) {
  u32 sizes[8], sum = 0;
  for (int k = 0; k < 8; k++) sum += sizes[k] = (u32)counts[thread * 8 + k] + 1;
  u32 start = sum;
  for (int far = 1; far < 32; far <<= 1) {
    u32 other = __shfl_up_sync(ALL, start, far);
    if (thread >= far) start += other;
  }
  start -= sum;
  for (int k = 0; k < 8; k++) {
    starts[thread * 8 + k] = start;
    start += sizes[k];
  }
}

// The next byte of each lane of each block. counts: of all lanes, 256 each, `stride` apart.
extern "C" __global__ void __launch_bounds__(THREADS, 1)
    decode_bytes(const Job* jobs, const i64* step, const float* counts, i64 stride, i64* symbols) {
  __shared__ u32 starts[AT_ONCE][257];
  const Job job = jobs[blockIdx.x];
  const int warp = threadIdx.x / 32, warps = blockDim.x / 32, thread = threadIdx.x % 32;
  const i64 t = *step;
  if (t >= job.steps) return;
  const int lanes = t + 1 < job.steps ? job.lanes : job.lanes_in_last;
  u64 point = job.state[0], range = job.state[1];
  i64 at = job.state[2];
  counts += job.first_lane * stride;
  for (int first = 0; first < lanes; first += AT_ONCE) {
    const int some = min(lanes - first, AT_ONCE);
    for (int k = warp; k < some; k += warps) {
      find_starts(counts + (first + k) * stride, starts[k], thread);
      if (thread == 0) starts[k][256] = 1 << 24;
    }
    __syncthreads();
    for (int k = 0; k < some && warp == 0; k++) {  // one lane after the other: there is one code
      u64 scale = range >> 24, found = point / scale;
      u32 share = (u32)(found < (1 << 24) - 1 ? found : (1 << 24) - 1);
      u32 before = 0;
      for (int n = 0; n < 8; n++) before += starts[k][n * 32 + thread] <= share;
      int symbol = (int)__reduce_add_sync(ALL, before) - 1;
      u32 start = starts[k][symbol];
      point -= scale * start;
      range = scale * (starts[k][symbol + 1] - start);
      if (range < 1ull << 32) {
        point = point << 32 | (at < job.num_words ? job.words[at] : 0);
        range <<= 32;
        at++;
      }
      if (thread == 0) {
        const int lane = first + k, shorter = max(lane - job.lanes_in_last, 0);
        job.bytes[(i64)lane * job.steps - shorter + t] = symbol;
        symbols[job.first_lane + lane] = symbol;
      }
    }
    __syncthreads();
  }
  if (threadIdx.x == 0) job.state[0] = point, job.state[1] = range, job.state[2] = at;
}
