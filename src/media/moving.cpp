#include "media/moving.h"

#include <fmt/format.h>

#include <algorithm>
#include <random>

#include "headscope/error.h"

namespace headscope::media {

namespace {

constexpr std::int64_t kSmallest = 2, kLargest = 4;  // steps of a thing's side

void check(const MovingOptions& o) {
  const std::int64_t room = (o.frames - 1) * o.most + kLargest;
  const bool fits = o.frames >= 1 && o.frames <= 4096 && o.step >= 2 && o.step % 2 == 0 &&
                    o.most >= 1 && o.things >= 0 && o.things <= 64 && o.height % o.step == 0 &&
                    o.width % o.step == 0 && o.height / o.step >= room &&
                    o.width / o.step >= room && o.height <= 4096 && o.width <= 4096;
  if (fits) return;
  throw Error(
      ErrorCode::kRange,
      fmt::format(
          "[moving] expected frames of at least {0} x {0} even steps, for things to move {1} "
          "frames, found {2} x {3} pixels in steps of {4}",
          room,
          o.frames,
          o.height,
          o.width,
          o.step));
}

// Blocks of grey by chance, `low` to `high`.
class Texture {
 public:
  Texture(std::int64_t height, std::int64_t width, std::int64_t block, std::mt19937_64& random)
      : block_(block), columns_((width + block - 1) / block) {
    const std::int64_t rows = (height + block - 1) / block;
    for (std::int64_t n = 0; n < rows * columns_; ++n)
      grey_.push_back(static_cast<std::uint8_t>(random() % 256));
  }
  [[nodiscard]] std::uint8_t at(std::int64_t y, std::int64_t x) const {
    return grey_[static_cast<std::size_t>(y / block_ * columns_ + x / block_)];
  }

 private:
  std::int64_t block_, columns_;
  std::vector<std::uint8_t> grey_;
};

// First and last pixel where a thing may begin so that it stays inside: on the grid of steps.
std::int64_t place(std::int64_t size,
                   std::int64_t side,
                   std::int64_t motion,
                   const MovingOptions& o,
                   std::mt19937_64& random) {
  const std::int64_t way = (o.frames - 1) * motion;
  const std::int64_t first = std::max<std::int64_t>(0, -way);
  const std::int64_t last = size - side - std::max<std::int64_t>(0, way);
  const auto places = static_cast<std::uint64_t>((last - first) / o.step + 1);
  return first + static_cast<std::int64_t>(random() % places) * o.step;
}

}  // namespace

int Moving::seen(std::int64_t frame, std::int64_t y, std::int64_t x) const {
  for (std::size_t n = things.size(); n-- > 0;) {
    if (things[n].covers(frame, y, x)) return static_cast<int>(n);
  }
  return -1;
}

Moving moving_pictures(const MovingOptions& o, std::uint64_t seed) {
  check(o);
  std::mt19937_64 random(seed);
  const std::int64_t block = std::max<std::int64_t>(1, o.step / 4);
  const Texture ground(o.height, o.width, block, random);
  Moving out;
  std::vector<Texture> textures;
  for (std::int64_t n = 0; n < o.things; ++n) {
    Moving::Thing thing;
    const auto side = [&] {
      constexpr auto kSizes = static_cast<std::uint64_t>(kLargest - kSmallest + 1);
      return (kSmallest + static_cast<std::int64_t>(random() % kSizes)) * o.step;
    };
    const auto motion = [&] {
      const auto ways = static_cast<std::uint64_t>(2 * o.most + 1);
      return (static_cast<std::int64_t>(random() % ways) - o.most) * o.step;
    };
    thing.height = side();
    thing.width = side();
    while (thing.down == 0 && thing.right == 0) {
      thing.down = motion();
      thing.right = motion();
    }
    thing.top = place(o.height, thing.height, thing.down, o, random);
    thing.left = place(o.width, thing.width, thing.right, o, random);
    textures.emplace_back(thing.height, thing.width, block, random);
    out.things.push_back(thing);
  }
  out.grey = Tensor(DType::kU8, {o.frames, o.height, o.width});
  const auto to = out.grey.view<std::uint8_t, 3>();
  for (std::int64_t f = 0; f < o.frames; ++f) {
    for (std::int64_t y = 0; y < o.height; ++y) {
      for (std::int64_t x = 0; x < o.width; ++x) {
        const int n = out.seen(f, y, x);
        if (n < 0) {
          to(f, y, x) = ground.at(y, x);
          continue;
        }
        const auto at = static_cast<std::size_t>(n);
        const Moving::Thing& thing = out.things[at];
        to(f, y, x) =
            textures[at].at(y - thing.top - f * thing.down, x - thing.left - f * thing.right);
      }
    }
  }
  return out;
}

}  // namespace headscope::media
