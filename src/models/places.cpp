#include "models/places.h"

#include <algorithm>
#include <cstring>

#include "headscope/threads.h"
#include "media/taps.h"

namespace headscope::models {

namespace {

// Which of the three stretches of a moved axis a place lies in: those that stay, those before and those
// behind the edge that comes to lie inside the last window.
std::int32_t stretch(std::int64_t at, std::int64_t size, std::int64_t side, std::int64_t shift) {
  if (at < size - side) return 0;
  return at < size - shift ? 1 : 2;
}

Places windows(const Grid& grid, std::int64_t in_front, std::int64_t side, std::int64_t shift) {
  const std::int64_t down = (grid.rows + side - 1) / side;
  const std::int64_t across = (grid.columns + side - 1) / side;
  Places out{down * across, side * side, {}, {}};
  for (std::int64_t w = 0; w < out.sequences; ++w) {
    for (std::int64_t i = 0; i < out.length; ++i) {
      const std::int64_t y = w / across * side + i / side;
      const std::int64_t x = w % across * side + i % side;
      const std::int64_t from_y = (y + shift) % (down * side);
      const std::int64_t from_x = (x + shift) % (across * side);
      const bool inside = from_y < grid.rows && from_x < grid.columns;
      out.row.push_back(inside ? in_front + from_y * grid.columns + from_x : -1);
      if (shift > 0)
        out.region.push_back(3 * stretch(y, down * side, side, shift) +
                             stretch(x, across * side, side, shift));
    }
  }
  return out;
}

}  // namespace

Places places_of(
    Meeting meeting, const Grid& grid, std::int64_t in_front, std::int64_t side, std::int64_t shift) {
  if (meeting == Meeting::kWindows) return windows(grid, in_front, side, shift);
  const std::int64_t patches = grid.rows * grid.columns;
  Places out{1, in_front + grid.count(), {}, {}};
  if (meeting == Meeting::kTime) {
    out.sequences = patches;
    out.length = grid.frames;
  } else if (meeting == Meeting::kSpace) {
    out.sequences = grid.frames;
    out.length = in_front + patches;
  }
  for (std::int64_t s = 0; s < out.sequences; ++s) {
    for (std::int64_t i = 0; i < out.length; ++i) {
      std::int64_t row = i;
      if (meeting == Meeting::kTime) row = in_front + s * grid.frames + i;
      if (meeting == Meeting::kSpace && i >= in_front)
        row = in_front + (i - in_front) * grid.frames + s;
      out.row.push_back(row);
    }
  }
  return out;
}

Tensor gathered(const Tensor& x, const Places& places) {
  const auto [B, n, C] = x.view<float, 3>().shape;
  const auto each = places.sequences * places.length;
  Tensor out(DType::kF32, {B * places.sequences, places.length, C});
  const auto from = x.span<float>();
  const auto to = out.span<float>();
  const std::int64_t rows = n;
  const std::int64_t width = C;
  parallel_for(B * each, [&, rows, width](std::int64_t at) {
    const std::int64_t row = places.row[static_cast<std::size_t>(at % each)];
    float* here = to.data() + at * width;
    if (row < 0)
      std::fill_n(here, width, 0.0F);
    else
      std::copy_n(from.data() + (at / each * rows + row) * width, width, here);
  });
  return out;
}

Tensor scattered(const Tensor& x, const Places& places, std::int64_t n) {
  const std::int64_t C = x.dim(2);
  const std::int64_t each = places.sequences * places.length;
  const std::int64_t B = x.dim(0) / places.sequences;
  std::vector<float> share(static_cast<std::size_t>(n), 0.0F);
  for (const std::int64_t row : places.row) {
    if (row >= 0) share[static_cast<std::size_t>(row)] += 1.0F;
  }
  for (float& s : share) s = s > 0.0F ? 1.0F / s : 0.0F;
  Tensor out = Tensor::zeros(DType::kF32, {B, n, C});
  const auto from = x.span<float>();
  const auto to = out.span<float>();
  parallel_for(B, [&](std::int64_t b) {
    for (std::int64_t i = 0; i < each; ++i) {
      const std::int64_t row = places.row[static_cast<std::size_t>(i)];
      if (row < 0) continue;
      const float factor = share[static_cast<std::size_t>(row)];
      const float* found = from.data() + (b * each + i) * C;
      float* here = to.data() + (b * n + row) * C;
      for (std::int64_t c = 0; c < C; ++c) here[c] += factor * found[c];
    }
  });
  return out;
}

Tensor window_bias(const Tensor& table, std::int64_t side) {
  const auto from = table.view<float, 2>();
  const std::int64_t T = side * side;
  Tensor bias(DType::kF32, {1, from.shape[1], T, T});
  const auto to = bias.view<float, 4>();
  for (std::int64_t i = 0; i < T; ++i) {
    for (std::int64_t j = 0; j < T; ++j) {
      const std::int64_t down = i / side - j / side + side - 1;
      const std::int64_t across = i % side - j % side + side - 1;
      for (std::int64_t h = 0; h < from.shape[1]; ++h)
        to(0, h, i, j) = from(down * (2 * side - 1) + across, h);
    }
  }
  return bias;
}

Tensor picture_bias(const Tensor& table, const Grid& trained, const Grid& grid) {
  const auto from = table.view<float, 2>();
  const std::int64_t H = from.shape[1];
  const std::int64_t old_tall = 2 * trained.rows - 1;
  const std::int64_t old_wide = 2 * trained.columns - 1;
  const std::int64_t tall = 2 * grid.rows - 1;
  const std::int64_t wide = 2 * grid.columns - 1;
  // Transformers take the table for [wide,tall] here: the same for square pictures, and a model whose
  // pictures are not has been trained so.
  const media::Taps rows = media::taps(media::Filter::kLinear, old_wide, tall);
  const media::Taps columns = media::taps(media::Filter::kLinear, old_tall, wide);
  Tensor fit(DType::kF32, {tall, wide, H});
  for (std::int64_t y = 0; y < tall; ++y) {
    for (std::int64_t x = 0; x < wide; ++x) {
      for (std::int64_t h = 0; h < H; ++h) {
        double sum = 0.0;
        for (std::int64_t i = 0; i < rows.count[static_cast<std::size_t>(y)]; ++i) {
          const std::int64_t first = (rows.first[static_cast<std::size_t>(y)] + i) * old_tall;
          for (std::int64_t j = 0; j < columns.count[static_cast<std::size_t>(x)]; ++j) {
            const std::int64_t at = first + columns.first[static_cast<std::size_t>(x)] + j;
            sum += rows.weight(y)[i] * columns.weight(x)[j] * static_cast<double>(from(at, h));
          }
        }
        fit.view<float, 3>()(y, x, h) = static_cast<float>(sum);
      }
    }
  }
  const std::int64_t T = grid.rows * grid.columns + 1;
  const std::int64_t last = from.shape[0];
  Tensor bias(DType::kF32, {1, H, T, T});
  parallel_for(H, [&](std::int64_t h) {
    const auto to = bias.view<float, 4>()[0][h];
    const auto by_distance = std::as_const(fit).view<float, 3>();
    for (std::int64_t i = 0; i < T; ++i) {
      for (std::int64_t j = 0; j < T; ++j) {
        if (i == 0 || j == 0) {
          const std::int64_t special = i == 0 && j == 0 ? 1 : (i == 0 ? 3 : 2);
          to(i, j) = from(last - special, h);
          continue;
        }
        const std::int64_t down = (i - 1) / grid.columns - (j - 1) / grid.columns + grid.rows - 1;
        const std::int64_t across = (i - 1) % grid.columns - (j - 1) % grid.columns + grid.columns - 1;
        to(i, j) = by_distance(down, across, h);
      }
    }
  });
  return bias;
}

}  // namespace headscope::models
