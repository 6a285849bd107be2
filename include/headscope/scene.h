#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "headscope/tensor.h"

namespace headscope {

/// What a sequence was made of, when it was no text: kept in a Sighting so that it can be drawn under what the heads
/// do. Labels say where each element lies in it.
struct Scene {
  enum class Kind : std::uint8_t { kText, kImage, kVideo, kNotes, kTable, kBytes };
  Kind kind = Kind::kText;
  std::string source;  ///< name of the file

  /// The part of the pictures that the model sees, u8 [N,H,W,3], made small.
  Tensor pictures = {};
  std::vector<double> seconds = {};  ///< when each was taken; empty: not known

  /// One a label: MIDI pitch (-1 silence) or number of the table; NaN where there is none.
  std::vector<double> values = {};
  std::vector<std::string> names = {};  ///< voices, or columns of the table
  std::vector<std::string> rows = {};   ///< rows of the table
  int steps_per_beat = 4, beats_per_bar = 4;
  double beat_seconds = 0.5;
};

/// "text", "image", "video", "notes", "table", "bytes".
std::string_view name(Scene::Kind kind);
/// Errors: kFormat.
Scene::Kind scene_kind(std::string_view word);

}  // namespace headscope
