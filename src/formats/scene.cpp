#include "headscope/scene.h"

#include <array>
#include <string>

#include "headscope/error.h"

namespace headscope {

namespace {
constexpr std::array<std::string_view, 6> kNames = {
    "text", "image", "video", "notes", "table", "bytes"};
}

std::string_view name(Scene::Kind kind) { return kNames.at(static_cast<std::size_t>(kind)); }

Scene::Kind scene_kind(std::string_view word) {
  for (std::size_t n = 0; n < kNames.size(); ++n) {
    if (kNames[n] == word) return static_cast<Scene::Kind>(n);
  }
  throw Error(ErrorCode::kFormat,
              "[scene] expected text, image, video, notes, table or bytes, found " +
                  std::string(word.substr(0, 40)));
}

}  // namespace headscope
