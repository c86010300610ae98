// The backward of z = pointwise(depthwise(u)): what the data and weight gradients of edge_group and sep_second share.
//
//     dz = coef[0] * g + coef[1] * z + coef[2]        per channel, computed where it is read, never stored
//     dh[p, i] = sum_o dz[p, o] * pw[o, i]            the tensor cores' part: `product`
//     du = depthwise^T(dh)                            `transposed`; the weight gradients: weights.cuh
//
// A block takes a tile of TH x TW pixels and TC channels. Data are channels-last; S is their storage.
#pragma once
#include "gpu/device.cuh"
#include "gpu/fragments.cuh"

constexpr int MOST_BRANCHES = 64;
// Shapes with filters of 7: half of the registers are too few for their taps, so one block stands on a multiprocessor.
constexpr unsigned SEVENS = 0b100100;

// What differs from branch to branch, by value; `shape` is k / 2 - 1 + 3 * (dilation - 1).
struct Branches {
    const void* g[MOST_BRANCHES];
    const void* z[MOST_BRANCHES];
    const float* dw[MOST_BRANCHES];
    const float* pw[MOST_BRANCHES];
    unsigned char shape[MOST_BRANCHES];
};

__host__ __device__ constexpr int larger(int a, int b) { return a > b ? a : b; }
__host__ __device__ constexpr int kernel_of(int shape) { return shape % 3 * 2 + 3; }
__host__ __device__ constexpr int padding_of(int shape) { return (shape % 3 + 1) * (shape / 3 + 1); }

// SHAPES has a bit for each shape that occurs.
__host__ __device__ constexpr int widest_kernel(unsigned shapes) {
    int k = 0;
    for (int shape = 0; shape < 6; ++shape)
        if (shapes >> shape & 1) k = larger(k, kernel_of(shape));
    return k;
}
__host__ __device__ constexpr int widest_padding(unsigned shapes) {
    int pad = 0;
    for (int shape = 0; shape < 6; ++shape)
        if (shapes >> shape & 1) pad = larger(pad, padding_of(shape));
    return pad;
}

template <int K_, int D_> struct Filter {
    static constexpr int K = K_, D = D_;
};

// body.run<Filter<k, dilation>>() of a shape out of SHAPES: no code is made for others.
template <unsigned SHAPES, int FIRST = 0, typename B> __device__ inline void with_filter(int shape, const B& body) {
    if constexpr (FIRST < 6) {
        if constexpr (SHAPES >> FIRST & 1) {
            if (shape == FIRST) return body.template run<Filter<kernel_of(FIRST), FIRST / 3 + 1>>();
        }
        with_filter<SHAPES, FIRST + 1>(shape, body);
    }
}

// Four channels from c on, zeros behind the last. VEC is 4 where C and all addresses allow it, else 1.
template <int C, int VEC, typename S> __device__ inline Pack<S, 4> stored(const S* pixel, int c) {
    Pack<S, 4> y = {};
    if constexpr (VEC == 4) {
        if (C % 16 == 0 || c < C) y = read<4>(pixel + c);
    } else {
#pragma unroll
        for (int v = 0; v < 4; ++v)
            if (c + v < C) y.x[v] = pixel[c + v];
    }
    return y;
}
template <int C, int VEC, typename S> __device__ inline Four four(const S* pixel, int c) {
    const Pack<S, 4> pack = stored<C, VEC>(pixel, c);
    return {to_float(pack.x[0]), to_float(pack.x[1]), to_float(pack.x[2]), to_float(pack.x[3])};
}

template <int C, int VEC, typename S> __device__ inline void put(S* pixel, int c, const float* values) {
    if constexpr (VEC == 4) {
        if (C % 16 == 0 || c < C) write<4>(pixel + c, values);
    } else {
#pragma unroll
        for (int v = 0; v < 4; ++v)
            if (c + v < C) pixel[c + v] = to_storage<S>(values[v]);
    }
}

// The upstream gradient of one branch and image: dz is an affine function of g and z.
template <typename S, int C, int VEC> struct Upstream {
    const S* g;
    const S* z;
    const float* coef;  // [3, C]

    struct Factors {
        Four a, b, c;
    };
    __device__ Upstream(const Branches& branches, int i, const float* all, long long first_pixel)
        : g(in_global(static_cast<const S*>(branches.g[i])) + first_pixel * C),
          z(in_global(static_cast<const S*>(branches.z[i])) + first_pixel * C), coef(all + i * 3 * C) {}
    __device__ Factors factors(int c) const {
        return {four<C, VEC>(coef, c), four<C, VEC>(coef + C, c), four<C, VEC>(coef + 2 * C, c)};
    }
    struct Values {  // of four channels, as stored
        Pack<S, 4> g, z;
    };
    __device__ Values load(int at, int c) const { return {stored<C, VEC>(g + at, c), stored<C, VEC>(z + at, c)}; }
    __device__ Four dz(const Values& values, const Factors& factors) const {
        Four y;
#pragma unroll
        for (int v = 0; v < 4; ++v)
            y.x[v] =
                factors.a.x[v] * to_float(values.g.x[v]) + factors.b.x[v] * to_float(values.z.x[v]) + factors.c.x[v];
        return y;
    }
};

// Pixels of a rectangle of one image [height, width], counted row by row; a division by its width is a product.
struct Rectangle {
    int y, x, height, width;
    unsigned inverse;
    __device__ Rectangle(int y, int x, int height, int width)
        : y(y), x(x), height(height), width(width), inverse((1u << 20) / width + 1) {}
    __device__ int size() const { return height * width; }
    __device__ int row(int q) const { return static_cast<int>(q * inverse >> 20); }  // right for q < 2^20 / width
};

// dh of the rectangle's pixels (output coordinates) and of the channels [first, first + TC): `sink(pixel, c, dh)` with
// four channels from `c` on within the tile, the pixel as the rectangle counts. `also(pixel, o, dz)` gets each dz once.
// Pixels outside of the image give zeros. Warps share out pixels and groups of 16 channels; HOLD: they keep weights
// and factors in registers over their pixels, as far as that goes.
template <typename S, int C, int VEC, int TC, bool HOLD, typename Also, typename Sink>
__device__ inline void product(const Upstream<S, C, VEC>& up, const float* __restrict__ pw, const Rectangle& place,
                               int height, int width, int first, Also also, Sink sink) {
    constexpr int STEPS = (C + 15) / 16, GROUPS = TC / 16;
    constexpr bool CORES = sizeof(S) == 2;
    constexpr int HELD = HOLD && CORES && STEPS <= 2 ? STEPS : 0;
    // Operands are read for several tiles of 16 pixels and steps of 16 channels before the first is used, as far as
    // there are registers: where none are held for weights, the others of the kernel leave too few.
    constexpr int TILES = HELD == 1 ? 2 : 1, AHEAD = CORES ? smaller(STEPS, HOLD ? 2 : 1) : 1;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, group = warp % GROUPS;
    const int g = lane / 4, t = lane % 4, column0 = first + 16 * group;
    Weights weights[HELD + 1];
    typename Upstream<S, C, VEC>::Factors factors[HELD + 1];
#pragma unroll
    for (int k = 0; k < HELD; ++k) {
        weights[k] = weights_of<C>(pw, 16 * k, column0, lane);
        factors[k] = up.factors(16 * k + 4 * t);
    }
    const int pixels = place.size();
#pragma unroll 1
    for (int m = warp / GROUPS * 16; m < pixels; m += WARPS / GROUPS * 16 * TILES) {
        float sum[TILES][2][4] = {};
        int at[TILES][2];  // within the image, negative outside
#pragma unroll
        for (int i = 0; i < 2 * TILES; ++i) {
            const int q = m + WARPS / GROUPS * 16 * (i / 2) + g + i % 2 * 8, row = place.row(q);
            const int y = place.y + row, x = place.x + q - row * place.width;
            at[i / 2][i % 2] = q < pixels && y < height && x < width ? (y * width + x) * C : -1;
        }
#pragma unroll(HELD ? STEPS : 1)
        for (int k0 = 0; k0 < STEPS; k0 += AHEAD) {
            if constexpr (CORES) {
                typename Upstream<S, C, VEC>::Values values[TILES][AHEAD][2];
#pragma unroll
                for (int i = 0; i < TILES * AHEAD * 2; ++i) {
                    const int tile = i / 2 / AHEAD, k = i / 2 % AHEAD, half = i % 2;
                    if (k0 + k < STEPS && at[tile][half] >= 0)
                        values[tile][k][half] = up.load(at[tile][half], 16 * (k0 + k) + 4 * t);
                }
#pragma unroll
                for (int k = 0; k < AHEAD; ++k) {
                    if (k0 + k >= STEPS) continue;
                    const int o = 16 * (k0 + k) + 4 * t;
                    const auto here = HELD ? factors[(k0 + k) % (HELD + 1)] : up.factors(o);
                    const Weights w =
                        HELD ? weights[(k0 + k) % (HELD + 1)] : weights_of<C>(pw, 16 * (k0 + k), column0, lane);
#pragma unroll
                    for (int tile = 0; tile < TILES; ++tile) {
                        Four dz[2] = {};
#pragma unroll
                        for (int half = 0; half < 2; ++half) {
                            if (at[tile][half] >= 0) dz[half] = up.dz(values[tile][k][half], here);
                            const int q = m + WARPS / GROUPS * 16 * tile + g + 8 * half;
                            if (q < pixels && group == 0) also(q, o, dz[half]);
                        }
                        add_product(sum[tile], dz, w);
                    }
                }
            } else {  // without tensor cores a lane takes all 16 channels of a step, not four of them
#pragma unroll 1
                for (int o = 16 * k0; o < 16 * k0 + 16; o += 4) {
                    const auto here = up.factors(o);
                    Four dz[2] = {};
#pragma unroll
                    for (int half = 0; half < 2; ++half) {
                        if (at[0][half] >= 0) dz[half] = up.dz(up.load(at[0][half], o), here);
                        const int q = m + g + 8 * half;
                        if (q < pixels && group == 0 && o % 16 / 4 == t) also(q, o, dz[half]);
                    }
#pragma unroll
                    for (int v = 0; v < 4; ++v) {
                        if (o + v >= C) continue;
                        const Four w = four<C, VEC>(pw + (o + v) * C, column0 + 4 * t);
#pragma unroll
                        for (int i = 0; i < 8; ++i) sum[0][i / 4][i % 4] += dz[i / 4].x[v] * w.x[i % 4];
                    }
                }
            }
        }
#pragma unroll
        for (int i = 0; i < 2 * TILES; ++i) {
            const int q = m + WARPS / GROUPS * 16 * (i / 2) + g + i % 2 * 8;
            if (q < pixels) sink(q, 16 * group + 4 * t, sum[i / 2][i % 2]);
        }
    }
}

// The filter of a branch in a block's own memory: taps[k * k, TC].
template <int C, int TC> __device__ inline void load_taps(float* taps, const float* __restrict__ dw, int k, int first) {
    for (int i = threadIdx.x; i < k * k * TC; i += THREADS) {
        const int c = first + i % TC;
        taps[i] = c < C ? in_global(dw)[c * k * k + i / TC] : 0.f;
    }
}

// How the threads of a block lie over a tile of the data gradient: four channels each, a patch of PH x PW pixels, which
// begins at a multiple of the stride, so that it is known at compile time which taps meet which pixel.
template <typename S, int STRIDE, unsigned SHAPES, int TH, int TW, int TC> struct Tile {
    static constexpr int HALO = (widest_padding(SHAPES) + STRIDE - 1) / STRIDE;
    static constexpr int RH = TH / STRIDE + 2 * HALO, RW = TW / STRIDE + 2 * HALO;  // of dh, with the halo
    static constexpr int PW = STRIDE, LANES = TC / 4, COLUMNS = TW / PW, STRIPS = THREADS / (LANES * COLUMNS);
    static constexpr int PH = TH / STRIPS;
    static constexpr int TAPS = widest_kernel(SHAPES) * widest_kernel(SHAPES) * TC;  // floats
    static constexpr int DH = RH * RW * TC * static_cast<int>(sizeof(S)) / 4;        // floats
    static_assert(PH * STRIPS == TH && STRIPS * COLUMNS * LANES == THREADS, "the threads do not cover a tile");
    static_assert(PH % STRIDE == 0 && TH % STRIDE == 0, "a patch begins between two pixels of the output");

    int lane = threadIdx.x % LANES * 4, column = threadIdx.x / LANES % COLUMNS * PW;
    int row = threadIdx.x / (LANES * COLUMNS) * PH;

    // Where a pixel of a rectangle, which begins at row `up` and column `left` of dh, has its place.
    __device__ static int place(const Rectangle& rectangle, int pixel, int up, int left) {
        const int y = rectangle.row(pixel);
        return (y + up) * RW + pixel - y * rectangle.width + left;
    }
};

// dh beyond the image is zero; `product` writes what is inside. y, x: where the tile begins, in pixels of du.
template <typename T, int STRIDE, int TC, typename S>
__device__ inline void clear_beyond(S* dh, int y, int x, int height, int width) {
    const float zeros[4] = {};
    for (int i = threadIdx.x; i < T::RH * T::RW * T::LANES; i += THREADS) {
        const int pixel = i / T::LANES;
        const int row = y / STRIDE - T::HALO + pixel / T::RW, column = x / STRIDE - T::HALO + pixel % T::RW;
        if (row < 0 || row >= height || column < 0 || column >= width) keep(dh + 4 * i, zeros);
    }
}

// What of dh (of an output [height, width]) a branch with padding `pad` needs for the tile that begins at y, x.
template <int STRIDE, int TH, int TW>
__device__ inline Rectangle needed(int y, int x, int pad, int height, int width) {
    const int y0 = larger(y / STRIDE - pad / STRIDE, 0), y1 = smaller((y + TH - 1 + pad) / STRIDE + 1, height);
    const int x0 = larger(x / STRIDE - pad / STRIDE, 0), x1 = smaller((x + TW - 1 + pad) / STRIDE + 1, width);
    return {y0, x0, y1 - y0, x1 - x0};
}

// Adds depthwise^T(dh) of a thread's patch to `sum`. Every value of dh is read once and meets all its taps.
template <typename T, int STRIDE, int TC, typename S> struct Transposed {
    float (&sum)[T::PH][T::PW][4];
    const T& tile;
    const S* dh;
    const float* taps;

    template <typename F> __device__ void run() const {
        constexpr int K = F::K, D = F::D, PAD = D * (K / 2), LOW = PAD / STRIDE;
        constexpr int ROWS = LOW + (T::PH - 1 + PAD) / STRIDE + 1, COLUMNS = LOW + (T::PW - 1 + PAD) / STRIDE + 1;
        const int row = tile.row / STRIDE + T::HALO - LOW, column = tile.column / STRIDE + T::HALO - LOW;
        const S* corner = dh + (row * T::RW + column) * TC + tile.lane;
#pragma unroll
        for (int j = 0; j < COLUMNS; ++j) {
            Four w[T::PW][K];
#pragma unroll
            for (int px = 0; px < T::PW; ++px) {
                const int reach = px + PAD - STRIDE * (j - LOW);  // kx * D
                if (reach < 0 || reach % D || reach >= K * D) continue;
#pragma unroll
                for (int ky = 0; ky < K; ++ky) w[px][ky] = kept(taps + (ky * K + reach / D) * TC + tile.lane);
            }
#pragma unroll
            for (int r = 0; r < ROWS; ++r) {
                const Four value = kept(corner + (r * T::RW + j) * TC);
#pragma unroll
                for (int px = 0; px < T::PW; ++px) {
                    const int across = px + PAD - STRIDE * (j - LOW);
                    if (across < 0 || across % D || across >= K * D) continue;
#pragma unroll
                    for (int py = 0; py < T::PH; ++py) {
                        const int reach = py + PAD - STRIDE * (r - LOW);
                        if (reach < 0 || reach % D || reach >= K * D) continue;
#pragma unroll
                        for (int v = 0; v < 4; ++v) sum[py][px][v] += w[px][reach / D].x[v] * value.x[v];
                    }
                }
            }
        }
    }
};
