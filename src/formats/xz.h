#pragma once

#include <cstddef>
#include <filesystem>
#include <string>

namespace headscope {

/// A whole text file, unpacked when it is packed by xz (told by its first bytes, not by its name).
/// Errors: kNotFound, kIo; kFormat for a damaged or cut file; kResources when it, or what comes out of it, is larger
/// than `limit` bytes.
std::string read_text(const std::filesystem::path& path, std::size_t limit = std::size_t{1} << 30);

}  // namespace headscope
