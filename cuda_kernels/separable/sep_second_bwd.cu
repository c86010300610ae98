// The gradient of what the second half of a separable convolution normalises and rectifies, with the sums that the
// norm's backward needs, and the weights' gradients.
//
//     d1[i] = [v[i] > 0] * depthwise^T(pointwise^T(dz2[i]))        v[i] = (z1[i] - mean[i]) * scale[i] + shift[i]
//     sum_d[i] = sum d1[i]        sum_dz[i] = sum d1[i] * (z1[i] - mean[i])        coef1[i]: see sep_second.py
//
// The signature in Python, with the reference: sep_second.py. What is launched: backward.py.
#include "separable/weights.cuh"

struct Middles {  // of all branches
    const void* z1[MOST_BRANCHES];
    void* d1[MOST_BRANCHES];
};

// z1 of one branch, normalised and rectified.
template <typename S, int C, int VEC> struct Normed {
    const S* z1;
    const float *mean, *scale, *shift;  // [C]

    struct Channels {
        Four mean, scale, shift;
    };
    __device__ Channels channels(int c) const {
        return {four<C, VEC>(mean, c), four<C, VEC>(scale, c), four<C, VEC>(shift, c)};
    }
    __device__ Four at(long long pixel, int c, const Channels& channels) const {
        Four u = four<C, VEC>(z1 + pixel * C, c);
#pragma unroll
        for (int v = 0; v < 4; ++v)
            u.x[v] = relu((u.x[v] - channels.mean.x[v]) * channels.scale.x[v] + channels.shift.x[v]);
        return u;
    }
};

// One branch and tile a block; the sums of its tile go to partial[branch, tile, 2, C].
template <typename S, int C, int VEC, unsigned SHAPES, int TH, int TW, int TC>
__global__ void __launch_bounds__(THREADS, 2)
sep_second_bwd(const __grid_constant__ Branches branches, const __grid_constant__ Middles middles,
               const float* __restrict__ mean, const float* __restrict__ scale, const float* __restrict__ shift,
               const float* __restrict__ coef, const float* __restrict__ gate, float* __restrict__ partial, int height,
               int width) {
    using T = Tile<S, 1, SHAPES, TH, TW, TC>;
    constexpr int KEPT = 8 * T::LANES / 32;
    SHARED(float, memory, T::DH + T::TAPS);
    SHARED(float, sums, WARPS * 8 * T::LANES);  // [warp, sum_d of four channels and sum_dz, lane]
    const int i = blockIdx.z;
    if (gate != nullptr && gate[i] == 0.f) return;
    const int down = (height + TH - 1) / TH, across = (width + TW - 1) / TW;
    const int y = blockIdx.x / across % down * TH, x = blockIdx.x % across * TW, first = blockIdx.y * TC;
    const long long image = blockIdx.x / (across * down);
    const T tile;
    S* const dh = reinterpret_cast<S*>(memory);
    const int shape = branches.shape[i];
    clear_beyond<T, 1, TC>(dh, y, x, height, width);
    load_taps<C, TC>(memory + T::DH, branches.dw[i], kernel_of(shape), first);
    const Rectangle place = needed<1, TH, TW>(y, x, padding_of(shape), height, width);
    const int up = place.y - y + T::HALO, left = place.x - x + T::HALO;
    product<S, C, VEC, TC, true>(
        Upstream<S, C, VEC>(branches, i, coef, image * height * width), in_global(branches.pw[i]), place, height, width,
        first, [](int, int, const Four&) {},
        [=](int pixel, int c, const float* value) { keep(dh + T::place(place, pixel, up, left) * TC + c, value); });
    __syncthreads();
    float d[T::PH][T::PW][4] = {};
    with_filter<SHAPES>(shape, Transposed<T, 1, TC, S>{d, tile, dh, memory + T::DH});

    const int c = first + tile.lane;
    const S* const z1 = in_global(static_cast<const S*>(middles.z1[i]));
    S* const d1 = static_cast<S*>(middles.d1[i]);
    const auto norm = Normed<S, C, VEC>{z1, mean + i * C, scale + i * C, shift + i * C}.channels(c);
    float total[8] = {};
#pragma unroll
    for (int py = 0; py < T::PH; ++py) {
        const int row = y + tile.row + py, column = x + tile.column;
        if (row >= height || column >= width) continue;
        const long long at = ((image * height + row) * width + column) * C;
        const Four value = four<C, VEC>(z1 + at, c);
#pragma unroll
        for (int v = 0; v < 4; ++v) {
            const float centred = value.x[v] - norm.mean.x[v];
            if (centred * norm.scale.x[v] + norm.shift.x[v] <= 0.f) d[py][0][v] = 0.f;  // NaN lets it through
            total[v] += d[py][0][v];
            total[4 + v] += d[py][0][v] * centred;
        }
        put<C, VEC>(d1 + at, c, d[py][0]);
    }
    const int begin = sum_and_scatter<8, T::LANES>(total, threadIdx.x % 32);
#pragma unroll
    for (int k = 0; k < KEPT; ++k)
        sums[(threadIdx.x / 32 * 8 + begin + k) * T::LANES + threadIdx.x % T::LANES] = total[k];
    __syncthreads();
    for (int e = threadIdx.x; e < 8 * T::LANES; e += THREADS) {
        const int which = e / T::LANES / 4, channel = first + e % T::LANES * 4 + e / T::LANES % 4;
        float sum = 0.f;
        for (int w = 0; w < WARPS; ++w) sum += sums[w * 8 * T::LANES + e];
        const long long place = (static_cast<long long>(i) * gridDim.x + blockIdx.x) * 2 + which;
        if (channel < C) partial[place * C + channel] = sum;
    }
}

// One block a branch and 32 channels: the sums of all tiles in a fixed order, and the norm's backward that they give.
template <int C>
__global__ void __launch_bounds__(THREADS)
sep_second_bwd_finish(const float* __restrict__ partial, int partials, const float* __restrict__ mean,
                      const float* __restrict__ scale, const float* __restrict__ rstd, const float* __restrict__ gate,
                      float* __restrict__ coef1, float* __restrict__ sum_d, float* __restrict__ sum_dz, float pixels) {
    constexpr int COLUMNS = smaller(power_of_two_from(C), 32), ROWS = THREADS / COLUMNS;
    SHARED(float, first, THREADS);
    SHARED(float, second, THREADS);
    const int i = blockIdx.x, column = threadIdx.x % COLUMNS, row = threadIdx.x / COLUMNS;
    const int c = blockIdx.y * COLUMNS + column;
    const bool runs = gate == nullptr || gate[i] != 0.f;
    float d = 0.f, dz = 0.f;
    if (c < C && runs) {
#pragma unroll 8
        for (int b = row; b < partials; b += ROWS) {
            const float* sums = partial + (static_cast<long long>(i) * partials + b) * 2 * C + c;
            d += sums[0];
            dz += sums[C];
        }
    }
    first[threadIdx.x] = d;
    second[threadIdx.x] = dz;
    __syncthreads();
    if (row != 0 || c >= C) return;
    for (int r = 1; r < ROWS; ++r) {
        d += first[r * COLUMNS + column];
        dz += second[r * COLUMNS + column];
    }
    const float a = runs ? scale[i * C + c] : 0.f, deviation = runs ? rstd[i * C + c] : 0.f;
    const float b = runs ? -a * deviation * deviation * dz / pixels : 0.f;
    sum_d[i * C + c] = d;
    sum_dz[i * C + c] = dz;
    coef1[(i * 3 + 0) * C + c] = a;
    coef1[(i * 3 + 1) * C + c] = b;
    coef1[(i * 3 + 2) * C + c] = runs ? (deviation == 0.f ? 0.f : -a * d / pixels) - b * mean[i * C + c] : 0.f;
}

// Weight gradients, first pass: partial sums of a block's tiles.
template <typename S, int C, int VEC, unsigned SHAPES, int TH, int TW, int TC>
__global__ void __launch_bounds__(THREADS, STANDING<S, SHAPES>)
sep_second_bwd_weights(const __grid_constant__ Branches branches, const __grid_constant__ Middles middles,
                       const float* __restrict__ mean, const float* __restrict__ scale, const float* __restrict__ shift,
                       const float* __restrict__ coef, const float* __restrict__ gate, float* __restrict__ partial,
                       int images, int height, int width) {
    const int i = blockIdx.z;
    if (gate != nullptr && gate[i] == 0.f) return;
    using T = WeightTile<S, C, 1, SHAPES, TH, TW, TC>;
    const S* const z1 = in_global(static_cast<const S*>(middles.z1[i]));
    const Normed<S, C, VEC> input{z1, mean + i * C, scale + i * C, shift + i * C};
    weight_gradients<T, S, C, VEC>(branches, input, coef, partial, images, height, width);
}

// Second pass: the sums of the partial sums, in a fixed order.
template <int C, unsigned SHAPES>
__global__ void __launch_bounds__(THREADS)
sep_second_bwd_weights_finish(const __grid_constant__ Gradients gradients, const float* __restrict__ partial,
                              int partials, const float* __restrict__ gate) {
    finish_weights<C, SHAPES>(gradients, partial, partials, gate);
}
