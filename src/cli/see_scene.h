#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cli/see.h"

/// What `see` draws of inputs that are no text: the picture with the light of a head, the piano roll, the chart.
namespace headscope::cli {

/// "picture, 14 x 14 patches"
std::string scene_facts(const Screen& screen, const Sighting& sighting);

/// The scene under one head, or under the mean of all heads of the last layer shown. Lines end in '\n'.
std::string render_scene(const Screen& screen, const Seen& seen, std::optional<HeadId> head);

/// Layers down, heads across: the picture's patches as each head lights them. Lines end in '\n'.
std::string light_grid(const Screen& screen,
                       const Sighting& sighting,
                       const std::vector<int>& layers);

/// How to read it.
std::string light_grid_note(const Screen& screen,
                            const Sighting& sighting,
                            const std::vector<int>& layers);

/// Whether layers of a picture or video are shown.
bool in_pictures(const Sighting& sighting);

}  // namespace headscope::cli
