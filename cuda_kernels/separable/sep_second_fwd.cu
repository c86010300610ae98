// The second half of separable convolutions: the first half's norm on load, then filter, product and statistics.
//
//     z2[i] = pointwise(depthwise(relu((z1[i] - mean[i]) * scale[i] + shift[i]), dw[i]), pw[i])    mean2, var2, rstd2
//
// z1[i] is [B, H, W, C], z2 [m, B, H, W, C]. What enters the filter is rounded to the storage S, as eager PyTorch does.
// Blocks: (tiles, branches, output channels). In Python, with the reference: sep_second.py; what is launched:
// forward.py.
#include "separable/forward.cuh"

template <typename S, int C, int WIDE, int CHANNELS, int TH, int TW, int REACH, int FORMS, int N>
__global__ void __launch_bounds__(THREADS, blocks_of<S>(FORMS, C, CHANNELS))
sep_second_fwd(const __grid_constant__ Table<const S*, N> z1, const float* __restrict__ mean,
               const float* __restrict__ scale, const float* __restrict__ shift,
               const __grid_constant__ Table<const float*, N> dw, const __grid_constant__ Table<const float*, N> pw,
               const __grid_constant__ Table<int, N> form, const float* __restrict__ gate, S* __restrict__ z2,
               float* __restrict__ partial, const __grid_constant__ Sizes sizes) {
    using T = Tile<S, CHANNELS, TH, TW, 1, REACH>;
    constexpr int PADDED = (C + CHANNELS - 1) / CHANNELS * CHANNELS;
    SHARED(float, norm, 3 * PADDED);
    const int branch = blockIdx.y;
    if (!gate_is_open(gate, branch)) return;
    for (int c = threadIdx.x; c < C; c += THREADS) {
        norm[c] = mean[branch * C + c];
        norm[PADDED + c] = scale[branch * C + c];
        norm[2 * PADDED + c] = shift[branch * C + c];
    }
    __syncthreads();
    const S* const all = in_global(z1.at[branch]);
    const auto load = [&](S* input, int, const Place& place, int first) {
        const S* image = all + static_cast<long long>(place.image) * sizes.height * sizes.width * C;
        const auto normed = [&](const Pack<S, WIDE>& pack, int c, float* values) {
#pragma unroll
            for (int v = 0; v < WIDE; ++v)
                values[v] = relu((to_float(pack.x[v]) - norm[c + v]) * norm[PADDED + c + v] + norm[2 * PADDED + c + v]);
        };
        load_tile<T, C, WIDE, 4>(input, image, sizes.height, sizes.width, place.y - REACH, place.x - REACH, first,
                                 normed);
    };
    separable_forward<T, C, WIDE, FORMS>(load, dw, pw, form, gate, z2, partial, sizes, branch, branch + 1);
}

template <int C, int TH, int TW>
__global__ void __launch_bounds__(THREADS)
sep_second_fwd_finish(const float* __restrict__ partial, const float* __restrict__ gate,
                      const __grid_constant__ Sizes sizes, float eps, float* __restrict__ mean, float* __restrict__ var,
                      float* __restrict__ rstd) {
    finish_statistics<C, TH, TW>(partial, gate, sizes, eps, mean, var, rstd);
}
