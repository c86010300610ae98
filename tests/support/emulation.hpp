// CUDA's execution model on one thread of a CPU, for tests: a fiber for each thread of a block, one block at a time.
//
// A fiber runs until it meets a barrier or a shuffle; then the next one runs, in an order that the caller chooses: warps,
// their lanes and blocks as numbered (0), backwards (2), shuffled by seed n (2 n); an odd order lets a warp run as far as
// it can before the next begins, where an even one lets all advance alike. What a kernel leaves to chance (a missing
// barrier, a block that reads what another writes) so differs from order to order, and shared memory is poisoned with
// NaN for every block. A barrier that some threads miss is an error, and so is a wide access that is not aligned or lies
// outside of the tensors that were named.
#pragma once
#include <setjmp.h>
#include <ucontext.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <map>
#include <random>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#define EMULATED
#define __global__
#define __device__
#define __host__
#define __restrict__
#define __grid_constant__
#define __launch_bounds__(...)
#define SHARED(type, name, count)       \
    static const char name##_place = 0; \
    type* const name = static_cast<type*>(emulation::shared(&name##_place, sizeof(type) * (count)))
#define TOUCH(at, bytes) emulation::touch(at, bytes)
#define TOUCH_SHARED(at, bytes) emulation::aligned(at, bytes)
#define __syncthreads() emulation::barrier(__FILE__, __LINE__)

struct Index {
    int x = 1, y = 1, z = 1;
};
static Index threadIdx, blockIdx, blockDim, gridDim;

inline float __uint_as_float(unsigned bits) {
    float x;
    std::memcpy(&x, &bits, 4);
    return x;
}

inline unsigned __float_as_uint(float x) {
    unsigned bits;
    std::memcpy(&bits, &x, 4);
    return bits;
}

inline unsigned short round_to_bf16(float x) {
    unsigned bits;
    std::memcpy(&bits, &x, 4);
    if (x != x) return 0x7fff;
    return static_cast<unsigned short>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

namespace emulation {

constexpr std::size_t STACK = 64 * 1024;

struct Fiber {
    enum State { READY, BARRIER, SHUFFLE, DONE } state;
    ucontext_t context;   // where it begins
    jmp_buf place;        // where it goes on
    bool begun;
    std::vector<char> stack = std::vector<char>(STACK);
    int line;             // of the barrier it waits at
    long exchanges;       // shuffles it has begun
    unsigned mask;        // lanes it waits for
    char slots[2][32];    // what it offers, for even and odd shuffles
};

static std::vector<Fiber> fibers;
static std::map<const void*, std::vector<float>> memory;  // shared memory of the running block
static std::function<void()> body;
static jmp_buf scheduler;
static int current;

static std::vector<std::pair<const char*, std::size_t>> tensors;  // what may be touched; anything where none is named
static std::string fault;                                          // the first touch that was wrong

inline void aligned(const void* at, std::size_t bytes) {
    if (reinterpret_cast<std::size_t>(at) % bytes) fault = "an access that is not aligned";
}

inline void touch(const void* at, std::size_t bytes) {
    const char* begin = static_cast<const char*>(at);
    aligned(at, bytes);
    for (auto& [first, size] : tensors)
        if (begin >= first && begin + bytes <= first + size) return;
    if (!tensors.empty()) fault = "an access outside of all tensors";
}

inline void* shared(const void* place, std::size_t bytes) {
    auto [at, fresh] = memory.try_emplace(place);
    if (fresh) at->second.assign((bytes + 3) / 4, __uint_as_float(0x7fffffffu));
    return at->second.data();
}

// Jumps, because swapcontext asks the kernel for the signal mask at every switch; in functions of their own, because a
// jump leaves the caller's registers undefined.
__attribute__((noinline)) static void wait(Fiber::State state) {
    fibers[current].state = state;
    if (!_setjmp(fibers[current].place)) _longjmp(scheduler, 1);
}

__attribute__((noinline)) static void resume(Fiber& fiber) {
    if (_setjmp(scheduler)) return;
    if (fiber.begun) _longjmp(fiber.place, 1);
    fiber.begun = true;
    setcontext(&fiber.context);
}

// The barrier that is left out, to see whether its lack shows.
static std::string omitted_file;
static int omitted_line;

inline void barrier(const char* file, int line) {
    if (line == omitted_line && omitted_file == file) return;
    fibers[current].line = line;
    wait(Fiber::BARRIER);
}

// What every lane of a warp offers, for all of them to read. Two slots are enough: nobody begins the exchange after next
// before all have read this one.
template <typename T> struct Offers {
    int warp, slot;
    T operator[](int lane) const {
        T value;
        std::memcpy(&value, fibers[warp + lane].slots[slot], sizeof(T));
        return value;
    }
};

template <typename T> Offers<T> offer(unsigned mask, const T& value) {
    static_assert(sizeof(T) <= sizeof(Fiber::slots[0]));
    const int me = current;
    Fiber& fiber = fibers[me];
    const int slot = fiber.exchanges++ % 2;
    std::memcpy(fiber.slots[slot], &value, sizeof(T));
    fiber.mask = mask;
    wait(Fiber::SHUFFLE);
    return {me / 32 * 32, slot};
}

inline float exchange(unsigned mask, float value, int from) { return offer(mask, value)[from]; }

inline bool may_run(int i) {
    const Fiber& fiber = fibers[i];
    if (fiber.state == Fiber::READY) return true;
    if (fiber.state != Fiber::SHUFFLE) return false;
    for (int lane = 0; lane < 32; ++lane)
        if (fiber.mask >> lane & 1 && fibers[i / 32 * 32 + lane].exchanges < fiber.exchanges) return false;
    return true;
}

inline void run_fiber() {
    body();
    fibers[current].state = Fiber::DONE;
    _longjmp(scheduler, 1);
}

inline void open_barrier() {
    int waiting = 0, line = 0;
    for (auto& fiber : fibers)
        if (fiber.state == Fiber::BARRIER) ++waiting, line = fiber.line;
    bool one = waiting == static_cast<int>(fibers.size());
    for (auto& fiber : fibers) one = one && fiber.line == line;
    if (!one) throw std::runtime_error("not all threads reach one barrier or shuffle; line " + std::to_string(line));
    for (auto& fiber : fibers) fiber.state = Fiber::READY;
}

inline void start_block() {
    memory.clear();
    for (auto& fiber : fibers) {
        fiber.state = Fiber::READY, fiber.exchanges = 0, fiber.line = 0, fiber.begun = false;
        getcontext(&fiber.context);
        fiber.context.uc_stack.ss_sp = fiber.stack.data();
        fiber.context.uc_stack.ss_size = STACK;
        fiber.context.uc_link = nullptr;
        makecontext(&fiber.context, run_fiber, 0);
    }
}

// One pass over a warp; did any of its threads run?
inline bool pass(int warp, const std::vector<int>& lanes) {
    bool progress = false;
    for (int lane : lanes) {
        const int i = warp * 32 + lane;
        if (!may_run(i)) continue;
        progress = true, current = i, threadIdx = Index{i, 0, 0};
        resume(fibers[i]);
    }
    return progress;
}

inline void run_block(const std::vector<int>& warps, const std::vector<int>& lanes, bool greedy) {
    start_block();
    for (;;) {
        bool progress = false;
        for (int warp : warps) {
            while (pass(warp, lanes)) {
                progress = true;
                if (!greedy) break;
            }
        }
        if (progress) continue;
        if (std::all_of(fibers.begin(), fibers.end(), [](auto& f) { return f.state == Fiber::DONE; })) return;
        open_barrier();
    }
}

// 0 as numbered, 1 backwards, else shuffled by that seed
inline std::vector<int> ordered(int n, int how) {
    std::vector<int> numbers(n);
    for (int i = 0; i < n; ++i) numbers[i] = how == 1 ? n - 1 - i : i;
    if (how > 1) std::shuffle(numbers.begin(), numbers.end(), std::mt19937(how));
    return numbers;
}

template <typename... A, std::size_t... I>
void call(void (*kernel)(A...), void** arguments, std::index_sequence<I...>) {
    kernel(*static_cast<std::remove_const_t<A>*>(arguments[I])...);
}

// Runs `kernel` over grid x, y, z with `arguments` as the driver takes them; a message where it went wrong, else null.
template <typename... A>
const char* run(void (*kernel)(A...), const int* grid, int threads, void** arguments, int order) {
    static std::string message;
    fibers.resize(threads);
    const int how = order / 2;
    gridDim = Index{grid[0], grid[1], grid[2]}, blockDim = Index{threads, 1, 1};
    body = [=] { call(kernel, arguments, std::index_sequence_for<A...>()); };
    try {
        for (int block : ordered(grid[0] * grid[1] * grid[2], how)) {
            blockIdx = Index{block % grid[0], block / grid[0] % grid[1], block / (grid[0] * grid[1])};
            run_block(ordered(threads / 32, how), ordered(32, how), order % 2);
        }
    } catch (const std::exception& error) {
        fault = error.what();
    }
    message = std::exchange(fault, "");
    return message.empty() ? nullptr : message.c_str();
}

}  // namespace emulation

inline float __shfl_xor_sync(unsigned mask, float value, int distance) {
    return emulation::exchange(mask, value, emulation::current % 32 ^ distance);
}

inline float __shfl_sync(unsigned mask, float value, int lane) { return emulation::exchange(mask, value, lane % 32); }

// Tensor cores, as the PTX manual lays their operands over a warp: pairs of bf16 in words, group = lane / 4 the row (the
// column of b), lane % 4 the pair of columns (rows).
namespace emulation {

inline float half_of(unsigned word, int which) { return __uint_as_float((which ? word >> 16 : word & 0xffffu) << 16); }

// ldmatrix: lane 8 i + r names row r of the i-th 8 x 8 tile.
inline void load_tiles(unsigned* words, int n, const void* row, bool transposed) {
    aligned(row, 16);
    const int lane = current % 32;
    const Offers<const void*> rows = offer(0xffffffffu, row);
    for (int i = 0; i < n; ++i) {
        unsigned short pair[2];
        for (int j = 0; j < 2; ++j) {
            const int y = transposed ? lane % 4 * 2 + j : lane / 4, x = transposed ? lane / 4 : lane % 4 * 2 + j;
            pair[j] = static_cast<const unsigned short*>(rows[8 * i + y])[x];
        }
        words[i] = pair[0] | static_cast<unsigned>(pair[1]) << 16;
    }
}

// mma.m16n8k16
inline void multiply_tile(float* sum, const unsigned* a, const unsigned* b) {
    struct Operands {
        unsigned a[4], b[2];
    } mine{{a[0], a[1], a[2], a[3]}, {b[0], b[1]}};
    const int lane = current % 32;
    const Offers<Operands> all = offer(0xffffffffu, mine);
    for (int v = 0; v < 4; ++v)
        for (int k = 0; k < 16; ++k) {
            const int row = lane / 4 + v / 2 * 8, column = lane % 4 * 2 + v % 2, member = k % 8 / 2;
            const float left = half_of(all[row % 8 * 4 + member].a[row / 8 + k / 8 * 2], k % 2);
            sum[v] += left * half_of(all[column * 4 + member].b[k / 8], k % 2);
        }
}

}  // namespace emulation
