// The first half of all separable convolutions that leave one state, from one read of it.
//
//     z[i] = pointwise(depthwise(relu(x), dw[i]), pw[i])        mean, var, rstd of every z[i] over batch and pixels
//
// x is [B, H, W, C], z [n, B, H', W', C]. S is the storage, float or bf16; sums are float. For bf16, filtered values
// and pointwise weights are rounded to bf16 and multiplied by tensor cores. Blocks: (tiles, groups of `together`
// branches, output channels). In Python, with the reference: edge_group.py; what is launched: forward.py.
#include "separable/forward.cuh"

template <typename S, int C, int WIDE, int CHANNELS, int TH, int TW, int STRIDE, int REACH, int FORMS, int N>
__global__ void __launch_bounds__(THREADS, blocks_of<S>(FORMS, C, CHANNELS))
edge_group_fwd(const S* __restrict__ x, const __grid_constant__ Table<const float*, N> dw,
               const __grid_constant__ Table<const float*, N> pw, const __grid_constant__ Table<int, N> form,
               const float* __restrict__ gate, S* __restrict__ z, float* __restrict__ partial,
               const __grid_constant__ Sizes sizes, int branches, int together) {
    using T = Tile<S, CHANNELS, TH, TW, STRIDE, REACH>;
    const int first = blockIdx.y * together;
    const auto load = [&](S* input, int, const Place& place, int c) {
        const S* image = x + static_cast<long long>(place.image) * sizes.height * sizes.width * C;
        const auto rectified = [](const Pack<S, WIDE>& pack, int, float* values) {
#pragma unroll
            for (int v = 0; v < WIDE; ++v) values[v] = relu(to_float(pack.x[v]));
        };
        load_tile<T, C, WIDE, 6>(input, image, sizes.height, sizes.width, place.y * STRIDE - REACH,
                              place.x * STRIDE - REACH, c, rectified);
    };
    separable_forward<T, C, WIDE, FORMS>(load, dw, pw, form, gate, z, partial, sizes, first,
                                         smaller(first + together, branches));
}

template <int C, int TH, int TW>
__global__ void __launch_bounds__(THREADS)
edge_group_fwd_finish(const float* __restrict__ partial, const float* __restrict__ gate,
                      const __grid_constant__ Sizes sizes, float eps, float* __restrict__ mean, float* __restrict__ var,
                      float* __restrict__ rstd) {
    finish_statistics<C, TH, TW>(partial, gate, sizes, eps, mean, var, rstd);
}
