// Pictures become the numbers that a model reads.
#include "headscope/image.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <utility>

#include "headscope/threads.h"
#include "media/taps.h"

namespace headscope {

namespace {

using media::Taps;

constexpr std::int64_t kMostNumbers = std::int64_t{1} << 28;

media::Filter filter_of(ImageRules::Filter filter) {
  switch (filter) {
    case ImageRules::Filter::kLanczos:
      return media::Filter::kLanczos;
    case ImageRules::Filter::kBilinear:
      return media::Filter::kTriangle;
    case ImageRules::Filter::kBicubic:
      return media::Filter::kSmoothCubic;
    case ImageRules::Filter::kBox:
      return media::Filter::kBox;
    case ImageRules::Filter::kHamming:
      return media::Filter::kHamming;
    default:
      return media::Filter::kMiddle;
  }
}

// Weights in fixed point, as Pillow keeps them for bytes.
constexpr int kFraction = 22;

std::vector<std::int32_t> fixed(const Taps& taps) {
  std::vector<std::int32_t> out;
  out.reserve(taps.weights.size());
  for (double w : taps.weights)
    out.push_back(static_cast<std::int32_t>(std::lround(w * (1 << kFraction))));
  return out;
}

std::uint8_t rounded(std::int64_t sum) {
  return static_cast<std::uint8_t>(std::clamp<std::int64_t>(sum >> kFraction, 0, 255));
}

void check_size(std::int64_t height, std::int64_t width, std::int64_t channels) {
  if (height < 1 || width < 1) {
    throw Error(
        ErrorCode::kInput,
        fmt::format(
            "[image] expected a picture of at least one pixel, found {} x {}", height, width));
  }
  if (height > kMostNumbers / width / channels) {
    throw Error(ErrorCode::kResources,
                fmt::format("[image] expected at most {} numbers, found {} x {} x {}",
                            kMostNumbers,
                            height,
                            width,
                            channels));
  }
}

// Along the rows: [H,W,N] -> [H,width,N].
Tensor along_rows(View<const std::uint8_t, 3> from, const Taps& taps, std::int64_t width) {
  const std::int64_t H = from.shape[0];
  const std::int64_t N = from.shape[2];
  Tensor out(DType::kU8, {H, width, N});
  const auto to = out.view<std::uint8_t, 3>();
  const std::vector<std::int32_t> weights = fixed(taps);
  parallel_for(H, [&](std::int64_t y) {
    for (std::int64_t x = 0; x < width; ++x) {
      const std::int32_t* w = weights.data() + x * taps.most;
      const auto n = static_cast<std::size_t>(x);
      for (std::int64_t c = 0; c < N; ++c) {
        std::int64_t sum = std::int64_t{1} << (kFraction - 1);
        for (std::int64_t i = 0; i < taps.count[n]; ++i)
          sum += std::int64_t{w[i]} * from(y, taps.first[n] + i, c);
        to(y, x, c) = rounded(sum);
      }
    }
  });
  return out;
}

// Along the columns: [H,W,N] -> [height,W,N].
Tensor along_columns(View<const std::uint8_t, 3> from, const Taps& taps, std::int64_t height) {
  const std::int64_t W = from.shape[1];
  const std::int64_t N = from.shape[2];
  Tensor out(DType::kU8, {height, W, N});
  const auto to = out.view<std::uint8_t, 3>();
  const std::vector<std::int32_t> weights = fixed(taps);
  parallel_for(height, [&](std::int64_t y) {
    const std::int32_t* w = weights.data() + y * taps.most;
    const auto n = static_cast<std::size_t>(y);
    for (std::int64_t x = 0; x < W; ++x) {
      for (std::int64_t c = 0; c < N; ++c) {
        std::int64_t sum = std::int64_t{1} << (kFraction - 1);
        for (std::int64_t i = 0; i < taps.count[n]; ++i)
          sum += std::int64_t{w[i]} * from(taps.first[n] + i, x, c);
        to(y, x, c) = rounded(sum);
      }
    }
  });
  return out;
}

Tensor copied(View<const std::uint8_t, 3> from) {
  const auto [H, W, N] = from.shape;
  Tensor out(DType::kU8, {H, W, N});
  for (std::int64_t y = 0; y < H; ++y) {
    for (std::int64_t x = 0; x < W; ++x)
      std::memcpy(
          &out.view<std::uint8_t, 3>()(y, x, 0), &from(y, x, 0), static_cast<std::size_t>(N));
  }
  return out;
}

// A pixel as `channels` numbers 0..255.
std::array<double, 3> numbers(const std::uint8_t* rgb, std::int64_t channels) {
  if (channels == 3)
    return {static_cast<double>(rgb[0]), static_cast<double>(rgb[1]), static_cast<double>(rgb[2])};
  // Pillow's luma, in its fixed point.
  const std::int64_t luma = (19595 * rgb[0] + 38470 * rgb[1] + 7471 * rgb[2] + 0x8000) >> 16;
  return {static_cast<double>(luma), 0.0, 0.0};
}

void check_rules(const ImageRules& rules, std::int64_t channels) {
  const std::size_t means = rules.mean.size();
  const bool fits = means == 0 || means == 1 || means == static_cast<std::size_t>(channels) ||
                    (channels == 1 && means == 3);
  if ((channels != 1 && channels != 3) || !fits || rules.deviation.size() != means) {
    throw Error(
        ErrorCode::kRange,
        fmt::format("[image] expected 1 or 3 channels with a mean and deviation each, found {} "
                    "with {} and {}",
                    channels,
                    means,
                    rules.deviation.size()));
  }
}

// Height and width after resizing.
std::pair<std::int64_t, std::int64_t> resized_to(std::int64_t H,
                                                 std::int64_t W,
                                                 const ImageRules& rules) {
  if (!rules.resize) return {H, W};
  if (rules.shortest <= 0) return {rules.height, rules.width};
  const double factor = static_cast<double>(rules.shortest);
  const auto other = static_cast<std::int64_t>(factor * static_cast<double>(std::max(H, W)) /
                                               static_cast<double>(std::min(H, W)));
  return H <= W ? std::pair(rules.shortest, other) : std::pair(other, rules.shortest);
}

// Half of what is too much, rounded down: also where there is too little.
std::int64_t half(std::int64_t surplus) { return (surplus - (surplus < 0 ? 1 : 0)) / 2; }

// Pixels of one axis that cropping leaves: from, count, both of the picture before it was resized.
std::pair<std::int64_t, std::int64_t> left_of(std::int64_t size,
                                              std::int64_t resized,
                                              std::int64_t crop) {
  const std::int64_t from = std::max<std::int64_t>(half(resized - crop), 0);
  const std::int64_t to = std::min(from + crop, resized);
  const std::int64_t first = std::min(from * size / resized, size - 1);
  return {first, std::max<std::int64_t>((to * size + resized - 1) / resized - first, 1)};
}

}  // namespace

Tensor seen_part(View<const std::uint8_t, 3> rgb, const ImageRules& rules, std::int64_t most_side) {
  const auto [H, W, N] = rgb.shape;
  check_size(H, W, N);
  const auto [height, width] = resized_to(H, W, rules);
  check_size(height, width, N);
  View<const std::uint8_t, 3> part = rgb;
  if (rules.crop) {
    const auto [top, rows] = left_of(H, height, rules.crop_height);
    const auto [left, columns] = left_of(W, width, rules.crop_width);
    part.data += top * rgb.stride[0] + left * rgb.stride[1];
    part.shape[0] = rows;
    part.shape[1] = columns;
  }
  const std::int64_t longest = std::max(part.shape[0], part.shape[1]);
  const std::int64_t most = std::max<std::int64_t>(most_side, 1);
  if (longest <= most) return copied(part);
  const auto shorter = [&](std::int64_t side) {
    return std::max<std::int64_t>((side * most + longest / 2) / longest, 1);
  };
  return resize(
      part, shorter(part.shape[0]), shorter(part.shape[1]), ImageRules::Filter::kBilinear);
}

Tensor resize(View<const std::uint8_t, 3> picture,
              std::int64_t height,
              std::int64_t width,
              ImageRules::Filter filter) {
  const auto [H, W, N] = picture.shape;
  check_size(H, W, N);
  check_size(height, width, N);
  check_size(H, width, N);
  const media::Filter how = filter_of(filter);
  Tensor narrow =
      width == W ? copied(picture) : along_rows(picture, media::taps(how, W, width), width);
  if (height == H) return narrow;
  const auto rows = std::as_const(narrow).view<std::uint8_t, 3>();
  return along_columns(rows, media::taps(how, H, height), height);
}

Tensor pixels_from_rgb(View<const std::uint8_t, 3> rgb,
                       const ImageRules& rules,
                       std::int64_t channels) {
  check_rules(rules, channels);
  const auto [H, W, N] = rgb.shape;
  if (N != 3) {
    throw Error(ErrorCode::kInput,
                fmt::format("[image] expected a picture [H,W,3], found {}", to_string(rgb.shape)));
  }
  check_size(H, W, N);
  const auto size = resized_to(H, W, rules);
  std::int64_t height = size.first;  // clang 14 captures no structured bindings
  std::int64_t width = size.second;
  Tensor resized;
  View<const std::uint8_t, 3> picture = rgb;
  if (rules.resize) {
    resized = resize(rgb, height, width, rules.filter);
    picture = std::as_const(resized).view<std::uint8_t, 3>();
  }
  height = rules.crop ? rules.crop_height : picture.shape[0];
  width = rules.crop ? rules.crop_width : picture.shape[1];
  check_size(height, width, channels);
  const std::int64_t top = rules.crop ? half(picture.shape[0] - height) : 0;
  const std::int64_t left = rules.crop ? half(picture.shape[1] - width) : 0;

  Tensor out(DType::kF32, {channels, height, width});
  const auto to = out.view<float, 3>();
  const auto of = [](const std::vector<double>& list, std::int64_t c, double none) {
    if (list.empty()) return none;
    return list[std::min(static_cast<std::size_t>(c), list.size() - 1)];
  };
  parallel_for(height, [&](std::int64_t y) {
    for (std::int64_t x = 0; x < width; ++x) {
      const std::int64_t row = y + top;
      const std::int64_t column = x + left;
      const bool inside =
          row >= 0 && row < picture.shape[0] && column >= 0 && column < picture.shape[1];
      const std::array<double, 3> seen =
          inside ? numbers(&picture(row, column, 0), channels) : std::array<double, 3>{};
      for (std::int64_t c = 0; c < channels; ++c) {
        const double value = seen[static_cast<std::size_t>(c)] * rules.rescale;
        to(c, y, x) =
            static_cast<float>((value - of(rules.mean, c, 0.0)) / of(rules.deviation, c, 1.0));
      }
    }
  });
  return out;
}

}  // namespace headscope
