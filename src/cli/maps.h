#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cli/measures.h"
#include "cli/screen.h"

/// Attention maps in half blocks: two cells a character, darker = more.
namespace headscope::cli {

/// A map pooled to few cells; each holds the largest weight of its block.
struct Pixels {
  int rows = 0;
  int columns = 0;
  std::vector<float> value;
  [[nodiscard]] float at(int r, int c) const {
    return value[static_cast<std::size_t>(r) * static_cast<std::size_t>(columns) +
                 static_cast<std::size_t>(c)];
  }
};

/// Blocks of about equal size, `side` of them a side (or one a cell when the map is smaller).
Pixels pool(View<const float, 2> map, int side);

/// The map of one head over tokens, from the recorded pooled map when the text is long.
Pixels head_pixels(const Sighting& sighting, HeadId head, int side);

/// Lines of half blocks. With colour every cell has its shade; without, a mark stands where a cell
/// holds .10 or more.
std::vector<std::string> half_blocks(const Screen& screen, const Pixels& pixels);

/// Cells on a side of the maps of grid().
int grid_side(const Screen& screen, const Sighting& sighting);

/// Layers down, heads across: a small map each, as many columns as fit the width.
/// Lines end in '\n'.
std::string grid(const Screen& screen, const Sighting& sighting, const std::vector<int>& layers);

}  // namespace headscope::cli
