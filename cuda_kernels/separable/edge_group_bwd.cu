// The gradient of a state through all separable convolutions that leave it, added over them on chip, and the weights'.
//
//     dx = [x > 0] * sum_i depthwise^T(pointwise^T(dz[i])) + add
//
// The signature in Python, with the reference: edge_group.py. What is launched: backward.py.
#include "separable/weights.cuh"

template <typename S, int C, int VEC, int STRIDE, unsigned SHAPES, int TH, int TW, int TC>
__global__ void __launch_bounds__(THREADS, SHAPES & SEVENS ? 1 : 2)
edge_group_bwd(const __grid_constant__ Branches branches, int n, const S* __restrict__ x,
               const float* __restrict__ coef, const float* __restrict__ gate, const S* add, S* dx, int height,
               int width) {
    using T = Tile<S, STRIDE, SHAPES, TH, TW, TC>;
    constexpr int BUFFERS = 8 * (T::DH + T::TAPS) <= 46 * 1024 ? 2 : 1;  // two save a barrier a branch
    SHARED(float, memory, BUFFERS * (T::DH + T::TAPS));
    const int down = (height + TH - 1) / TH, across = (width + TW - 1) / TW;
    const int y = blockIdx.x / across % down * TH, x0 = blockIdx.x % across * TW, first = blockIdx.y * TC;
    const long long image = blockIdx.x / (across * down);
    const int out_height = (height - 1) / STRIDE + 1, out_width = (width - 1) / STRIDE + 1;
    const T tile;
    for (int i = 0; i < BUFFERS; ++i)
        clear_beyond<T, STRIDE, TC>(reinterpret_cast<S*>(memory + i * (T::DH + T::TAPS)), y, x0, out_height, out_width);

    float sum[T::PH][T::PW][4] = {};
    int turn = 0;
#pragma unroll 1
    for (int i = 0; i < n; ++i) {
        if (gate != nullptr && gate[i] == 0.f) continue;
        S* const dh = reinterpret_cast<S*>(memory + turn * (T::DH + T::TAPS));
        float* const taps = memory + turn * (T::DH + T::TAPS) + T::DH;
        turn = (turn + 1) % BUFFERS;
        const int shape = branches.shape[i];
        load_taps<C, TC>(taps, branches.dw[i], kernel_of(shape), first);
        const Rectangle place = needed<STRIDE, TH, TW>(y, x0, padding_of(shape), out_height, out_width);
        const int up = place.y - y / STRIDE + T::HALO, left = place.x - x0 / STRIDE + T::HALO;
        product<S, C, VEC, TC, true>(
            Upstream<S, C, VEC>(branches, i, coef, image * out_height * out_width), in_global(branches.pw[i]), place,
            out_height, out_width, first, [](int, int, const Four&) {},
            [=](int pixel, int c, const float* value) { keep(dh + T::place(place, pixel, up, left) * TC + c, value); });
        __syncthreads();
        with_filter<SHAPES>(shape, Transposed<T, STRIDE, TC, S>{sum, tile, dh, taps});
        if constexpr (BUFFERS == 1) __syncthreads();
    }
#pragma unroll
    for (int py = 0; py < T::PH; ++py)
#pragma unroll
        for (int px = 0; px < T::PW; ++px) {
            const int row = y + tile.row + py, column = x0 + tile.column + px, c = first + tile.lane;
            if (row >= height || column >= width) continue;
            const long long at = ((image * height + row) * width + column) * C;
            const Four state = four<C, VEC>(x + at, c);
            Four more = {};
            if (add != nullptr) more = four<C, VEC>(add + at, c);
#pragma unroll
            for (int v = 0; v < 4; ++v) more.x[v] += state.x[v] <= 0.f ? 0.f : sum[py][px][v];  // NaN lets it through
            put<C, VEC>(dx + at, c, more.x);
        }
}

// Weight gradients, first pass: partial sums of a block's tiles.
template <typename S, int C, int VEC, int STRIDE, unsigned SHAPES, int TH, int TW, int TC>
__global__ void __launch_bounds__(THREADS, STANDING<S, SHAPES>)
edge_group_bwd_weights(const __grid_constant__ Branches branches, const S* __restrict__ x,
                       const float* __restrict__ coef, const float* __restrict__ gate, float* __restrict__ partial,
                       int images, int height, int width) {
    if (gate != nullptr && gate[blockIdx.z] == 0.f) return;
    using T = WeightTile<S, C, STRIDE, SHAPES, TH, TW, TC>;
    weight_gradients<T, S, C, VEC>(branches, Rectified<S, C, VEC>{x}, coef, partial, images, height, width);
}

// Second pass: the sums of the partial sums, in a fixed order.
template <int C, unsigned SHAPES>
__global__ void __launch_bounds__(THREADS)
edge_group_bwd_weights_finish(const __grid_constant__ Gradients gradients, const float* __restrict__ partial,
                              int partials, const float* __restrict__ gate) {
    finish_weights<C, SHAPES>(gradients, partial, partials, gate);
}
