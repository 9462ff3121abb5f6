// CUDA's threads of one block as fibers of one thread, so that a kernel runs, and is judged, without
// a GPU. Fibers take turns wherever they wait for each other, in an order that a seed chooses; an odd
// one lets warps run far ahead of others. What hands words over is a barrier here, too, and what is
// between two barriers is done at once: this finds many missing barriers, not all.

#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#include <numeric>
#include <type_traits>
#include <vector>

#define __device__
#define __global__
#define __shared__ static
#define __launch_bounds__(...)
#define PREFETCH(address) (void)(address)
#define SHARED(kind, name) kind* name = (kind*)shared_words

struct Index {
  int x;
};
static Index threadIdx, blockIdx, blockDim;
alignas(16) static int shared_words[1 << 18];

template <class A, class B>
auto min(A a, B b) { return a < (std::common_type_t<A, B>)b ? (std::common_type_t<A, B>)a : b; }
template <class A, class B>
auto max(A a, B b) { return a > (std::common_type_t<A, B>)b ? (std::common_type_t<A, B>)a : b; }

struct Fiber {
  ucontext_t begin;  // where it is to start
  jmp_buf waits;     // and to go on
  bool begun;
};
struct Barrier {
  int all;                   // who have not ended
  std::vector<int> waiting;  // of them
  unsigned times;            // how often all have come
};
static std::vector<Fiber> fibers;
static std::vector<int> ready;  // who could go on
static jmp_buf home;
static Barrier of_block, of_warp[64];
static unsigned words[64][2][32];  // what threads of a warp hand each other
static unsigned long long random_state;
static bool far_ahead;

static unsigned drawn(unsigned among) {
  random_state = random_state * 6364136223846793005 + 1442695040888963407;
  return (random_state >> 32) * among >> 32;
}

static void open_if_all(Barrier& barrier) {
  std::vector<int>& waiting = barrier.waiting;
  if ((int)waiting.size() < barrier.all) return;
  auto first = waiting.begin() + drawn(waiting.size());
  ready.insert(ready.end(), first, waiting.end());
  ready.insert(ready.end(), waiting.begin(), first);
  waiting.clear();
  barrier.times++;
}

// Lets any one of the ready go on; where they may be far ahead, mostly of those who came last.
[[noreturn]] static void go_on() {
  if (ready.empty()) _longjmp(home, 1);
  unsigned among = ready.size();
  if (far_ahead && drawn(64)) among = min(among, 4u);
  int& chosen = ready[ready.size() - 1 - drawn(among)];
  threadIdx.x = chosen;
  chosen = ready.back();
  ready.pop_back();
  Fiber& fiber = fibers[threadIdx.x];
  if (fiber.begun) _longjmp(fiber.waits, 1);
  fiber.begun = true;
  setcontext(&fiber.begin);
  abort();
}

static void meet(Barrier& barrier) {
  barrier.waiting.push_back(threadIdx.x);
  open_if_all(barrier);
  if (!_setjmp(fibers[threadIdx.x].waits)) go_on();
}
static void leave(Barrier& barrier) {
  barrier.all--;
  open_if_all(barrier);
}
static void __syncthreads() { meet(of_block); }
static void __syncwarp() { meet(of_warp[threadIdx.x / 32]); }

// All words of the warp.
static const unsigned* gathered(unsigned word) {
  unsigned* row = words[threadIdx.x / 32][of_warp[threadIdx.x / 32].times & 1];
  row[threadIdx.x % 32] = word;
  __syncwarp();
  return row;
}
#define LANE (threadIdx.x % 32)
static unsigned __ballot_sync(unsigned, bool is) {
  const unsigned* row = gathered(is);
  unsigned bits = 0;
  for (int k = 0; k < 32; k++) bits |= row[k] << k;
  return bits;
}
static unsigned __match_any_sync(unsigned, int value) {
  const unsigned* row = gathered(value);
  unsigned bits = 0;
  for (int k = 0; k < 32; k++) bits |= (unsigned)(row[k] == (unsigned)value) << k;
  return bits;
}
template <class Join>
unsigned reduced(unsigned value, Join join) {
  const unsigned* row = gathered(value);
  return std::accumulate(row + 1, row + 32, row[0], join);
}
static unsigned __reduce_add_sync(unsigned, unsigned value) {
  return reduced(value, [](unsigned a, unsigned b) { return a + b; });
}
static unsigned __reduce_max_sync(unsigned, unsigned value) {
  return reduced(value, [](unsigned a, unsigned b) { return max(a, b); });
}
static unsigned __reduce_min_sync(unsigned, unsigned value) {
  return reduced(value, [](unsigned a, unsigned b) { return min(a, b); });
}
static int __shfl_sync(unsigned, int value, int from) { return gathered(value)[from]; }
static int __shfl_xor_sync(unsigned, int value, int far) { return gathered(value)[LANE ^ far]; }
static unsigned __shfl_up_sync(unsigned, unsigned value, int far) {
  const unsigned* row = gathered(value);
  return LANE >= far ? row[LANE - far] : value;
}
static int __ffs(unsigned bits) { return __builtin_ffs(bits); }
static int __clz(unsigned bits) { return bits ? __builtin_clz(bits) : 32; }
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
static uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
struct alignas(16) int4 {
  int x, y, z, w;
};
static int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }
static int atomicAdd(int* to, int more) {
  int before = *to;
  *to += more;
  return before;
}
static int atomicExch(int* to, int other) {
  int before = *to;
  *to = other;
  return before;
}
static unsigned atomicCAS(unsigned* to, unsigned expected, unsigned value) {
  unsigned before = *to;
  if (before == expected) *to = value;
  return before;
}

// Runs `kernel` by `threads` fibers for each of `blocks` blocks; returns how many have ended.
template <class Kernel>
int launch(int blocks, int threads, unsigned seed, Kernel kernel) {
  const int size = (1 << 15) + 320;  // of a stack; those of many threads share no cache lines
  static Kernel* running;
  static std::vector<char> stacks;
  static int ended;
  running = &kernel;
  blockDim.x = threads;
  stacks.resize((size_t)threads * size);
  fibers.resize(threads);
  random_state = seed;
  far_ahead = seed & 1;
  ended = 0;
  for (blockIdx.x = 0; blockIdx.x < blocks; blockIdx.x++) {
    memset(shared_words, 0xA5, sizeof shared_words);
    of_block = {threads, {}, 0};
    for (Barrier& barrier : of_warp) barrier = {32, {}, 0};
    ready.clear();
    for (int k = 0; k < threads; k++) {
      ready.push_back(k);
      fibers[k].begun = false;
      getcontext(&fibers[k].begin);
      fibers[k].begin.uc_stack.ss_sp = stacks.data() + (size_t)k * size;
      fibers[k].begin.uc_stack.ss_size = size;
      makecontext(&fibers[k].begin, (void (*)())+[] {
        (*running)();
        ended++;
        leave(of_block);
        leave(of_warp[threadIdx.x / 32]);
        go_on();
      }, 0);
    }
    if (!_setjmp(home)) go_on();
  }
  return ended;
}
