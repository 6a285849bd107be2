#include "train/clips.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "headscope/error.h"
#include "headscope/media.h"
#include "train/draws.h"

namespace headscope::train {

namespace {

constexpr std::int64_t kMostFrames = 256;
constexpr std::int64_t kMostPictures = 4;  // of a frame's shorter side
constexpr std::int64_t kMostApart = 4;
constexpr std::int64_t kEvery = 2;

/// The mean of the pixels under each of rows x columns equal parts of a window of `from` (a frame of `stride` bytes a
/// row, `channels` a pixel).
struct Window {
  const std::uint8_t* from;
  std::int64_t stride, channels, height, width;
  [[nodiscard]] std::uint8_t mean(std::int64_t row,
                                  std::int64_t rows,
                                  std::int64_t column,
                                  std::int64_t columns) const {
    const std::int64_t top = row * height / rows;
    const std::int64_t left = column * width / columns;
    const std::int64_t bottom = std::max(top + 1, (row + 1) * height / rows);
    const std::int64_t right = std::max(left + 1, (column + 1) * width / columns);
    std::int64_t sum = 0;
    for (std::int64_t y = top; y < bottom; ++y) {
      const std::uint8_t* line = from + y * stride;
      for (std::int64_t n = left * channels; n < right * channels; ++n) sum += line[n];
    }
    return static_cast<std::uint8_t>(sum / ((bottom - top) * (right - left) * channels));
  }
};

Tensor read(const std::filesystem::path& path, std::int64_t side) {
  const Clip first = read_clip(path, 1, {}, {.first = 0});
  const std::int64_t H = first.frames.dim(1);
  const std::int64_t W = first.frames.dim(2);
  constexpr std::int64_t kMostBytes = std::int64_t{1} << 29;
  const std::int64_t room = std::max<std::int64_t>(1, kMostBytes / (H * W * 3));
  const std::int64_t N = std::min({kMostFrames, room, (first.total + kEvery - 1) / kEvery});
  if (N < 2 || std::min(H, W) < side) {
    throw Error(
        ErrorCode::kInput,
        fmt::format(
            "[{}] expected a video of at least 3 frames of {} x {} pixels, found {} of {} x {}",
            path.string(),
            side,
            side,
            first.total,
            H,
            W));
  }
  const Clip clip = read_clip(path, N, {}, {.first = 0, .every = kEvery});
  const double less = std::min(
      1.0, static_cast<double>(kMostPictures * side) / static_cast<double>(std::min(H, W)));
  const auto rows = static_cast<std::int64_t>(std::floor(static_cast<double>(H) * less));
  const auto columns = static_cast<std::int64_t>(std::floor(static_cast<double>(W) * less));
  Tensor out(DType::kU8, {N, rows, columns});
  const auto to = out.view<std::uint8_t, 3>();
  for (std::int64_t n = 0; n < N; ++n) {
    const Window frame{clip.frames.span<std::uint8_t>().data() + n * H * W * 3, W * 3, 3, H, W};
    for (std::int64_t y = 0; y < rows; ++y) {
      for (std::int64_t x = 0; x < columns; ++x) to(n, y, x) = frame.mean(y, rows, x, columns);
    }
  }
  return out;
}

}  // namespace

Clips::Clips(const std::vector<std::filesystem::path>& videos, std::int64_t side) : side_(side) {
  for (const auto& path : videos) videos_.push_back(read(path, side));
}

void Clips::cut(std::uint64_t chance, std::int64_t frames, std::uint8_t* to) const {
  std::uint64_t drawn = 0;
  // From 0 to n - 1.
  const auto one_of = [&](std::int64_t n) {
    return static_cast<std::int64_t>(below(draw(chance, drawn++), static_cast<std::uint64_t>(n)));
  };
  const Tensor& video =
      videos_[static_cast<std::size_t>(one_of(static_cast<std::int64_t>(videos_.size())))];
  const std::int64_t N = video.dim(0);
  const std::int64_t H = video.dim(1);
  const std::int64_t W = video.dim(2);
  const std::int64_t apart =
      std::min(1 + one_of(kMostApart),
               std::max<std::int64_t>(1, (N - 1) / std::max<std::int64_t>(1, frames - 1)));
  const std::int64_t first = one_of(std::max<std::int64_t>(1, N - (frames - 1) * apart));
  const std::int64_t size = side_ + one_of(std::min(H, W) - side_ + 1);
  const std::int64_t top = one_of(H - size + 1);
  const std::int64_t left = one_of(W - size + 1);
  const bool mirrored = one_of(2) == 1;
  for (std::int64_t f = 0; f < frames; ++f) {
    const std::int64_t n = std::min(N - 1, first + f * apart);
    const Window window{
        video.span<std::uint8_t>().data() + (n * H + top) * W + left, W, 1, size, size};
    for (std::int64_t y = 0; y < side_; ++y) {
      for (std::int64_t x = 0; x < side_; ++x)
        *to++ = window.mean(y, side_, mirrored ? side_ - 1 - x : x, side_);
    }
  }
}

}  // namespace headscope::train
