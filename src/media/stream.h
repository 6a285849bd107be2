#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "headscope/media.h"

namespace headscope::media {

/// One stream of a file in memory, decoded by FFmpeg. Of a file of a picture the first picture alone
/// counts; metadata of a JPEG or a PNG, and the size that a bitmap says it has, are kept from it.
class Stream {
 public:
  enum class Kind : std::uint8_t { kPicture, kVideo, kSound };
  /// Errors: kFormat, kUnsupported, kResources, as read_picture.
  Stream(std::span<const std::byte> file,
         std::string_view name,
         Kind kind,
         const MediaLimits& limits);
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  ~Stream();

  /// Decodes the next frame; false at the end. Damaged parts are passed over while anything follows
  /// them.
  /// Errors: kResources (more frames or pixels than allowed).
  bool next();
  /// Whether the frame (at the end: what came behind the last one) is damaged or made from one that
  /// is: FFmpeg says so, the packet is cut off, or its decoder complained while it made it.
  [[nodiscard]] bool damaged() const;
  /// Frames before this one (at the end: in all) that damaged packets did not give, where each packet is a frame.
  [[nodiscard]] std::int64_t lost() const;
  /// Frames that the file's header promises; 0: it says nothing.
  [[nodiscard]] std::int64_t promised() const;
  /// Packets of the stream to its end: one a frame. Errors: kResources.
  std::int64_t count_packets();
  /// The frame as bytes [H,W,3].
  Tensor rgb();
  [[nodiscard]] double seconds() const;
  /// As Exif counts, 1..8.
  [[nodiscard]] int orientation() const;
  /// Appends the frame's samples; sets the rate. Errors: kResources, kFormat (the rate changes).
  void append_sound(Audio& audio);
  /// Throws kFormat (of a picture that was refused for its size kResources); `found` "": damage.
  [[noreturn]] void fail(std::string_view expected, std::string_view found = {}) const;

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace headscope::media
