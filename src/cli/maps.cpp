#include "cli/maps.h"

#include <algorithm>
#include <array>
#include <numeric>

namespace headscope::cli {

namespace {
constexpr std::int64_t kLong = 256;  // Tokens from which the recorded pooled map is used.
constexpr float kMark = 0.1F;  // Weight from which a cell has a mark on a screen without colour.
constexpr int kMargin = 4;
constexpr int kLeast = 5;
constexpr int kMost = 16;

std::string coloured(float upper, float lower, bool only_upper) {
  const int top = ramp(static_cast<double>(upper));
  if (only_upper) return fmt::format("\x1b[38;5;{}m▀\x1b[0m", top);
  return fmt::format("\x1b[38;5;{};48;5;{}m▀\x1b[0m", top, ramp(static_cast<double>(lower)));
}

// Side of a cell of the grid: all heads in one line when that leaves five columns a cell, else
// lines of equal length.
struct Layout {
  int side = kLeast;
  int across = 1;
};

Layout lay_out(int width, int heads, std::int64_t tokens) {
  const int room = width - kMargin;
  const int wanted = static_cast<int>(std::clamp<std::int64_t>(tokens, kLeast, kMost));
  int lines = 1;
  while (lines < heads && room / ((heads + lines - 1) / lines) - 1 < kLeast) ++lines;
  const int across = (heads + lines - 1) / lines;
  return {std::clamp(room / across - 1, kLeast, wanted), across};
}

// Of the layer that has most.
int most_heads(const Sighting& sighting, std::span<const int> layers) {
  std::size_t out = 0;
  for (const int l : layers)
    out = std::max(out, sighting.layers.at(static_cast<std::size_t>(l)).heads.size());
  return static_cast<int>(out);
}
}  // namespace

Pixels pool(View<const float, 2> map, int side) {
  Pixels out;
  out.rows = static_cast<int>(std::min<std::int64_t>(side, map.shape[0]));
  out.columns = static_cast<int>(std::min<std::int64_t>(side, map.shape[1]));
  out.value.assign(static_cast<std::size_t>(out.rows) * static_cast<std::size_t>(out.columns),
                   0.0F);
  for (std::int64_t i = 0; i < map.shape[0]; ++i) {
    const std::int64_t r = i * out.rows / map.shape[0];
    for (std::int64_t j = 0; j < map.shape[1]; ++j) {
      const std::int64_t c = j * out.columns / map.shape[1];
      float& cell = out.value[static_cast<std::size_t>(r * out.columns + c)];
      cell = std::max(cell, map(i, j));
    }
  }
  return out;
}

Pixels head_pixels(const Sighting& sighting, HeadId id, int side) {
  const FocusRecord& record = sighting.layers.at(static_cast<std::size_t>(id.layer));
  const std::int64_t longest = std::max(record.rows, record.keys);
  if (longest <= kLong || record.pooled_max.empty()) {
    const Tensor map = sighting.map(id.layer, id.head);
    return pool(map.view<float, 2>(), side);
  }
  // Blocks of the recorded map are rounded up, so the last ones may stand for no token at all.
  View<const float, 2> recorded = record.pooled_max.view<float, 4>()[0][record.slot(id.head)];
  const std::int64_t down = (record.rows + recorded.shape[0] - 1) / recorded.shape[0];
  const std::int64_t right = (record.keys + recorded.shape[1] - 1) / recorded.shape[1];
  recorded.shape = {(record.rows + down - 1) / down, (record.keys + right - 1) / right};
  return pool(recorded, side);
}

std::vector<std::string> half_blocks(const Screen& screen, const Pixels& p) {
  static constexpr std::array<std::string_view, 4> kBlocks = {" ", "▀", "▄", "█"};
  std::vector<std::string> lines;
  for (int r = 0; r < p.rows; r += 2) {
    std::string line;
    const bool single = r + 1 == p.rows;
    for (int c = 0; c < p.columns; ++c) {
      if (screen.colour) {
        line += coloured(p.at(r, c), single ? 0.0F : p.at(r + 1, c), single);
        continue;
      }
      const bool lower = !single && p.at(r + 1, c) >= kMark;
      line += kBlocks[(p.at(r, c) >= kMark ? 1U : 0U) + (lower ? 2U : 0U)];
    }
    lines.push_back(std::move(line));
  }
  return lines;
}

int grid_side(const Screen& screen, const Sighting& sighting) {
  if (sighting.layers.empty()) return 0;
  const FocusRecord& first = sighting.layers.front();
  const std::int64_t longest = std::max(first.rows, first.keys);
  std::vector<int> all(sighting.layers.size());
  std::iota(all.begin(), all.end(), 0);
  const int side = lay_out(screen.width, most_heads(sighting, all), longest).side;
  return static_cast<int>(std::min<std::int64_t>(side, longest));
}

std::string grid(const Screen& screen, const Sighting& sighting, const std::vector<int>& layers) {
  if (layers.empty()) return "";
  const auto own = [&](int layer) -> const FocusRecord& {
    return sighting.layers.at(static_cast<std::size_t>(layer));
  };
  const FocusRecord& first = own(layers.front());
  const int heads = most_heads(sighting, layers);
  // Numbers of heads stand above all layers: those of the one that has most.
  const auto& names =
      own(*std::ranges::max_element(layers, {}, [&](int l) { return own(l).heads.size(); })).heads;
  const Layout layout = lay_out(screen.width, heads, std::max(first.rows, first.keys));
  std::string out;
  for (int from = 0; from < heads; from += layout.across) {
    const int to = std::min(from + layout.across, heads);
    std::string head_line = spaces(kMargin);
    for (int h = from; h < to; ++h)
      head_line += left(std::to_string(names[static_cast<std::size_t>(h)]), layout.side + 1);
    out += paint(screen, Paint::kDim, trimmed(head_line)) + '\n';
    for (const int layer : layers) {
      std::vector<std::string> lines(1);
      for (int h = from; h < std::min(to, static_cast<int>(own(layer).heads.size())); ++h) {
        const int head = own(layer).heads[static_cast<std::size_t>(h)];
        const auto cell = half_blocks(screen, head_pixels(sighting, {layer, head}, layout.side));
        lines.resize(std::max(lines.size(), cell.size()));
        for (std::size_t i = 0; i < lines.size(); ++i) {
          lines[i] = left(lines[i], (h - from) * (layout.side + 1));
          if (i < cell.size()) lines[i] += cell[i];
        }
      }
      for (std::size_t i = 0; i < lines.size(); ++i) {
        out += paint(screen, Paint::kDim, right(i == 0 ? std::to_string(layer) : "", kMargin - 2));
        out += trimmed("  " + lines[i]) + '\n';
      }
      if (layer != layers.back() || to < heads) out += '\n';
    }
  }
  return out;
}

}  // namespace headscope::cli
