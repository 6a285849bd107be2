#pragma once

#include <filesystem>
#include <string_view>

#include "formats/hub.h"

/// What reading and filling the cache of the hub share.
namespace headscope::hub {

/// 40 digits of a SHA-1.
bool is_commit(std::string_view text);
/// A relative path that stays below its folder: no empty part, . or .., nothing that is no letter.
bool is_inside(std::string_view path);
/// models--ORG--NAME
std::filesystem::path folder_of(const Settings& settings, std::string_view name);
/// The snapshot that was written last; empty when there is none.
std::filesystem::path newest_snapshot(const std::filesystem::path& folder);

}  // namespace headscope::hub
