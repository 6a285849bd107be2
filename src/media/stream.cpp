#include "media/stream.h"

#ifdef HEADSCOPE_MEDIA

extern "C" {
#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libavutil/imgutils.h>
#include <libavutil/opt.h>
#include <libswresample/swresample.h>
#include <libswscale/swscale.h>
}
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <mutex>
#include <utility>

#include "media/strip.h"

namespace headscope::media {

namespace {

// Formats that hold their pictures and sound themselves. Lists of other files (playlists, concat,
// image sequences) are not among them.
constexpr const char* kContainers =
    "avi,mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,ogg,flv,asf,mpeg,mpegvideo,mpegts,yuv4mpegpipe,gif,"
    "wav,mp3,flac,aac,amr,aiff,au,png_pipe,jpeg_pipe,bmp_pipe,webp_pipe,tiff_pipe,psd_pipe,ppm_"
    "pipe,"
    "pgm_pipe,pbm_pipe,pam_pipe,pgmyuv_pipe";
constexpr int kReadBytes = 1 << 16;
// No single allocation of FFmpeg's may be larger.
constexpr std::size_t kMostAllocation = std::size_t{1} << 30;
constexpr std::string_view kDamaged = "damaged or cut off data";

// What FFmpeg would print is caught here, and nothing of it is shown: it is a sign of damage, no
// words for a person.
struct Heard {
  std::string refused_size;       // "100000x100000": the first picture that was refused for it
  const void* decoder = nullptr;  // the one that is listened to
  std::int64_t complaints = 0;    // of that one: "cannot losslessly be recovered" (AV_LOG_ERROR)
};
thread_local Heard heard;

void listen(void* who, int level, const char* format, va_list arguments) {
  if (level > AV_LOG_ERROR) return;
  if (who != nullptr && who == heard.decoder) ++heard.complaints;
  constexpr std::string_view kSize = "Picture size ";
  if (!heard.refused_size.empty() || !std::string_view(format).starts_with(kSize)) return;
  std::array<char, 256> line{};
  std::vsnprintf(line.data(), line.size(), format, arguments);
  const std::string_view size = std::string_view(line.data()).substr(kSize.size());
  heard.refused_size = size.substr(0, size.find(' '));
}

void prepare() {
  static std::once_flag once;
  std::call_once(once, [] {
    av_log_set_callback(listen);
    av_max_alloc(kMostAllocation);
  });
}

struct Reader {
  std::span<const std::byte> file;
  std::size_t at = 0;
};

bool begins(std::span<const std::byte> file, std::string_view with) {
  return file.size() >= with.size() && std::memcmp(file.data(), with.data(), with.size()) == 0;
}

int read_some(void* opaque, std::uint8_t* to, int size) {
  auto& reader = *static_cast<Reader*>(opaque);
  const std::size_t n = std::min(static_cast<std::size_t>(size), reader.file.size() - reader.at);
  if (n == 0) return AVERROR_EOF;
  std::memcpy(to, reader.file.data() + reader.at, n);
  if (begins(reader.file, "BM")) right_bitmap_size({to, n}, reader.at, reader.file.size());
  reader.at += n;
  return static_cast<int>(n);
}

std::int64_t seek(void* opaque, std::int64_t offset, int whence) {
  auto& reader = *static_cast<Reader*>(opaque);
  const auto size = static_cast<std::int64_t>(reader.file.size());
  if ((whence & AVSEEK_SIZE) != 0) return size;
  const int from = whence & ~AVSEEK_FORCE;
  std::int64_t base = 0;
  if (from == SEEK_CUR) base = static_cast<std::int64_t>(reader.at);
  if (from == SEEK_END) base = size;
  if (offset < -base || offset > size - base) return AVERROR(EINVAL);
  reader.at = static_cast<std::size_t>(base + offset);
  return base + offset;
}

int refuse_open(AVFormatContext*, AVIOContext**, const char*, int, AVDictionary**) {
  return AVERROR(EACCES);
}

std::string words_of(int error) {
  if (error == AVERROR_INVALIDDATA) return std::string(kDamaged);
  std::array<char, AV_ERROR_MAX_STRING_SIZE> text{};
  av_strerror(error, text.data(), text.size());
  return text.data();
}

bool is_key(const AVFrame& frame) {
#ifdef AV_FRAME_FLAG_KEY
  return (frame.flags & AV_FRAME_FLAG_KEY) != 0;
#else
  return frame.key_frame != 0;
#endif
}

}  // namespace

struct Stream::Parts {
  std::string name;
  Kind kind = Kind::kPicture;
  MediaLimits limits;
  Reader reader;
  AVIOContext* io = nullptr;
  AVFormatContext* format = nullptr;
  AVCodecContext* codec = nullptr;
  AVPacket* packet = nullptr;
  AVFrame* frame = nullptr;
  SwsContext* scale = nullptr;
  SwrContext* sound = nullptr;
  int sound_rate = 0, sound_format = -1, sound_channels = 0;
  int index = -1;
  std::int64_t packets = 0, frames = 0, pixels = 0;
  int orientation = 0;   // of the packet at hand, where its metadata was taken out
  double seconds = 0.0;  // of the frame at hand
  bool drained = false;
  bool harmed = false;          // what comes now may be made from something damaged
  bool owed = false;            // a damaged packet was sent that no frame has come of yet
  std::int64_t lost = 0;        // frames that damaged packets did not give
  std::int64_t since_harm = 0;  // packets behind the damaged one
  std::int64_t complaints = 0;  // of the decoder, those looked at

  Parts() = default;
  Parts(const Parts&) = delete;
  Parts& operator=(const Parts&) = delete;
  ~Parts() {
    sws_freeContext(scale);
    swr_free(&sound);
    av_frame_free(&frame);
    av_packet_free(&packet);
    avcodec_free_context(&codec);
    avformat_close_input(&format);
    if (io != nullptr) av_freep(&io->buffer);
    avio_context_free(&io);
  }

  [[noreturn]] void fail(ErrorCode code, std::string_view expected, std::string_view found) const {
    throw Error(code, fmt::format("[{}] expected {}, found {}", name, expected, found));
  }

  // Of a picture that was refused for its size the size is named.
  [[noreturn]] void fail_decoding(std::string_view expected, std::string_view found) const {
    const std::string& size = heard.refused_size;
    if (size.starts_with("0x") || size.ends_with("x0"))
      fail(ErrorCode::kFormat, "a picture that has pixels", fmt::format("one of {}", size));
    if (!size.empty()) {
      fail(ErrorCode::kResources,
           fmt::format("a picture of at most {} pixels", limits.most_pixels),
           size);
    }
    fail(ErrorCode::kFormat, expected, found);
  }

  void open() {
    io = avio_alloc_context(static_cast<std::uint8_t*>(av_malloc(kReadBytes)),
                            kReadBytes,
                            0,
                            &reader,
                            read_some,
                            nullptr,
                            seek);
    format = avformat_alloc_context();
    packet = av_packet_alloc();
    frame = av_frame_alloc();
    if (io == nullptr || format == nullptr || packet == nullptr || frame == nullptr)
      fail(ErrorCode::kResources, "memory", "none left");
    format->pb = io;
    format->io_open = refuse_open;
    format->flags |= AVFMT_FLAG_CUSTOM_IO;
    format->max_streams = 64;
    AVDictionary* options = nullptr;
    av_dict_set(&options, "format_whitelist", kContainers, 0);
    av_dict_set(&options, "protocol_whitelist", "none", 0);
    // By its content FFmpeg knows no JPEG that has another one behind it (stereo, gain maps), and takes a PNG that
    // moves for a video.
    const char* picture = begins(reader.file, "\xFF\xD8\xFF") ? "jpeg_pipe" : nullptr;
    if (begins(reader.file, "\x89PNG\r\n\x1A\n")) picture = "png_pipe";
    const AVInputFormat* known = picture == nullptr ? nullptr : av_find_input_format(picture);
    const int opened = avformat_open_input(&format, nullptr, known, &options);
    av_dict_free(&options);
    if (opened < 0) fail_decoding("a file that FFmpeg reads", words_of(opened));
    find_stream();
    open_codec();
  }

  // Streams that no decoder has looked at yet often lack their size: looking decodes frames, within the limits.
  void find_stream() {
    std::vector<AVDictionary*> each(format->nb_streams, nullptr);
    for (AVDictionary*& one : each) av_dict_set_int(&one, "max_pixels", limits.most_pixels, 0);
    const int looked = avformat_find_stream_info(format, each.empty() ? nullptr : each.data());
    for (AVDictionary*& one : each) av_dict_free(&one);
    if (looked < 0) fail_decoding("streams", words_of(looked));
    const AVMediaType type = kind == Kind::kSound ? AVMEDIA_TYPE_AUDIO : AVMEDIA_TYPE_VIDEO;
    index = av_find_best_stream(format, type, -1, -1, nullptr, 0);
    if (index == AVERROR_DECODER_NOT_FOUND)
      fail(ErrorCode::kUnsupported, "a coding that FFmpeg decodes", "another");
    if (index < 0)
      fail(ErrorCode::kFormat, kind == Kind::kSound ? "sound in it" : "pictures in it", "none");
  }

  void open_codec() {
    const AVCodecParameters* facts = format->streams[index]->codecpar;
    const AVCodec* decoder = avcodec_find_decoder(facts->codec_id);
    if (decoder == nullptr)
      fail(ErrorCode::kUnsupported, "a coding that FFmpeg decodes", "another");
    if (std::int64_t{facts->width} * facts->height > limits.most_pixels) {
      fail(ErrorCode::kResources,
           fmt::format("a picture of at most {} pixels", limits.most_pixels),
           fmt::format("{} x {}", facts->width, facts->height));
    }
    codec = avcodec_alloc_context3(decoder);
    if (codec == nullptr || avcodec_parameters_to_context(codec, facts) < 0)
      fail(ErrorCode::kResources, "memory", "none left");
    codec->thread_count = 1;  // a decoder's threads would be beside our own
    codec->max_pixels = limits.most_pixels;
    if (kind != Kind::kSound) codec->err_recognition |= AV_EF_CRCCHECK;
    codec->pkt_timebase = format->streams[index]->time_base;
    const int opened = avcodec_open2(codec, decoder, nullptr);
    if (opened < 0) fail(ErrorCode::kFormat, "a stream that can be decoded", words_of(opened));
  }

  // The next packet of the stream into `packet`; false at the end. A file of a picture has one:
  // what lies behind it is another picture, or none.
  bool read_packet() {
    const bool still = std::string_view(format->iformat->name).ends_with("_pipe");
    while (true) {
      av_packet_unref(packet);
      if (still && packets > 0) return false;
      const int read = av_read_frame(format, packet);
      if (read < 0) return false;  // also where the file is damaged: what came before counts
      if (packet->stream_index != index) continue;
      ++packets;
      return true;
    }
  }

  // Takes metadata out of the packet at hand.
  void strip_packet() {
    const bool png = codec->codec_id == AV_CODEC_ID_PNG;
    if (!png && codec->codec_id != AV_CODEC_ID_MJPEG) return;
    const int size = packet->size;
    if (av_packet_make_writable(packet) < 0 ||
        (png && av_grow_packet(packet, static_cast<int>(kPngEndBytes)) < 0))
      fail(ErrorCode::kResources, "memory", "none left");
    const Octets b(packet->data, static_cast<std::size_t>(packet->size));
    orientation = 0;
    const std::size_t left =
        png ? strip_png(b, static_cast<std::size_t>(size)) : strip_jpeg(b, orientation);
    av_shrink_packet(packet, static_cast<int>(left));
  }

  // H.264 and HEVC complain of much that is no damage, and mark damaged frames themselves.
  [[nodiscard]] bool complained() {
    const std::int64_t before = std::exchange(complaints, heard.complaints);
    return heard.complaints > before && codec->codec_id != AV_CODEC_ID_H264 &&
           codec->codec_id != AV_CODEC_ID_HEVC;
  }

  // What the decoder made of the packet at hand.
  void judge_packet(int sent) {
    ++since_harm;
    const bool refused = sent < 0 && sent != AVERROR(EAGAIN) && sent != AVERROR_EOF;
    const bool wrong = refused || (packet->flags & AV_PKT_FLAG_CORRUPT) != 0;
    if (!complained() && !wrong) return;
    harm();
    // Of a decoder that holds nothing back each packet is a frame.
    owed = codec->has_b_frames == 0 && (codec->codec->capabilities & AV_CODEC_CAP_DELAY) == 0;
  }

  void harm() {
    harmed = true;
    since_harm = 0;
  }

  // Damage lasts until a frame that is made from no other: those between are made from it.
  void judge_frame() {
    const bool own = (frame->flags & AV_FRAME_FLAG_CORRUPT) != 0 || frame->decode_error_flags != 0;
    if (complained() || own) harm();
    // A decoder that holds frames back gives, after a packet, one of an earlier packet.
    if (harmed && is_key(*frame) && since_harm > codec->has_b_frames) harmed = false;
  }

  // Frames that a decoder held back to the end may come without a time: they follow the one before.
  void clock_frame() {
    const AVStream& stream = *format->streams[index];
    const std::int64_t at = frame->best_effort_timestamp;
    const AVRational rate = stream.avg_frame_rate;
    if (at != AV_NOPTS_VALUE && stream.time_base.den != 0) {
      seconds = static_cast<double>(at) * stream.time_base.num / stream.time_base.den;
    } else if (frames > 0 && rate.num > 0) {
      seconds += static_cast<double>(rate.den) / rate.num;
    }
  }

  void count_frame() {
    pixels += std::max<std::int64_t>(std::int64_t{frame->width} * frame->height, 1);
    if (kind != Kind::kSound && (++frames > limits.most_frames || pixels > limits.most_decoded)) {
      fail(ErrorCode::kResources,
           fmt::format("a video of at most {} frames and {} pixels in all",
                       limits.most_frames,
                       limits.most_decoded),
           "a longer one");
    }
  }
};

Stream::Stream(std::span<const std::byte> file,
               std::string_view name,
               Kind kind,
               const MediaLimits& limits)
    : parts_(std::make_unique<Parts>()) {
  prepare();
  heard = {};
  parts_->name = name;
  parts_->kind = kind;
  parts_->limits = limits;
  parts_->reader.file = file;
  parts_->open();
}

Stream::~Stream() = default;

void Stream::fail(std::string_view expected, std::string_view found) const {
  parts_->fail_decoding(expected, found.empty() ? kDamaged : found);
}

bool Stream::damaged() const { return parts_->harmed; }

std::int64_t Stream::lost() const { return parts_->lost; }

std::int64_t Stream::promised() const { return parts_->format->streams[parts_->index]->nb_frames; }

bool Stream::next() {
  Parts& p = *parts_;
  heard.decoder = p.codec;
  while (true) {
    const int received = avcodec_receive_frame(p.codec, p.frame);
    if (received == 0) {
      p.owed = false;
      p.judge_frame();
      p.clock_frame();
      p.count_frame();
      return true;
    }
    p.lost += std::exchange(p.owed, false) ? 1 : 0;
    if (received == AVERROR_EOF) return false;
    if (received != AVERROR(EAGAIN)) p.harm();
    if (received != AVERROR(EAGAIN) && p.drained) return false;
    if (p.read_packet()) {
      p.strip_packet();
      p.judge_packet(avcodec_send_packet(p.codec, p.packet));  // a damaged one may give no frame
    } else if (!p.drained) {
      p.drained = true;
      (void)avcodec_send_packet(p.codec, nullptr);
    } else {
      return false;
    }
  }
}

std::int64_t Stream::count_packets() {
  std::int64_t n = 0;
  while (parts_->read_packet()) {
    if (++n > parts_->limits.most_frames) {
      parts_->fail(ErrorCode::kResources,
                   fmt::format("a video of at most {} frames", parts_->limits.most_frames),
                   "a longer one");
    }
  }
  return n;
}

Tensor Stream::rgb() {
  Parts& p = *parts_;
  const int W = p.frame->width;
  const int H = p.frame->height;
  if (W < 1 || H < 1 || std::int64_t{W} * H > p.limits.most_pixels)
    fail("a picture of a size", "another");
  // Chroma at full size and exact rounding: a picture is the same on every machine.
  constexpr int kFlags = SWS_BICUBIC | SWS_FULL_CHR_H_INT | SWS_ACCURATE_RND | SWS_BITEXACT;
  p.scale = sws_getCachedContext(p.scale,
                                 W,
                                 H,
                                 static_cast<AVPixelFormat>(p.frame->format),
                                 W,
                                 H,
                                 AV_PIX_FMT_RGB24,
                                 kFlags,
                                 nullptr,
                                 nullptr,
                                 nullptr);
  if (p.scale == nullptr) fail("pixels that can be made red, green and blue", "others");
  if (p.frame->color_range == AVCOL_RANGE_JPEG) {
    const int* table =
        sws_getCoefficients(p.frame->colorspace == AVCOL_SPC_BT709 ? SWS_CS_ITU709 : SWS_CS_ITU601);
    (void)sws_setColorspaceDetails(p.scale, table, 1, table, 1, 0, 1 << 16, 1 << 16);
  }
  // swscale may write past the end of a row in whole vectors: rows with room at their end, copied afterwards.
  const int stride = (3 * W + 63) / 64 * 64;
  Tensor wide(DType::kU8, {H, stride + 64});
  std::uint8_t* planes[4] = {wide.span<std::uint8_t>().data(), nullptr, nullptr, nullptr};
  const int strides[4] = {stride + 64, 0, 0, 0};
  if (sws_scale(p.scale, p.frame->data, p.frame->linesize, 0, H, planes, strides) != H)
    fail("a whole picture", "a part of it");
  Tensor out(DType::kU8, {H, W, 3});
  for (std::int64_t y = 0; y < H; ++y)
    std::memcpy(out.span<std::uint8_t>().data() + y * W * 3,
                planes[0] + y * strides[0],
                static_cast<std::size_t>(3 * W));
  return out;
}

double Stream::seconds() const { return parts_->seconds; }

int Stream::orientation() const {
  if (parts_->orientation > 0) return parts_->orientation;
  const AVDictionaryEntry* found = av_dict_get(parts_->frame->metadata, "Orientation", nullptr, 0);
  return found == nullptr ? 1 : std::atoi(found->value);
}

void Stream::append_sound(Audio& audio) {
  Parts& p = *parts_;
  const AVFrame& f = *p.frame;
  const int channels = f.ch_layout.nb_channels;
  if (f.sample_rate < kSlowestRate || f.sample_rate > kFastestRate || channels < 1 || channels > 64)
    fail("sound of a rate and at most 64 channels", "other sound");
  if (p.sound == nullptr) {
    AVChannelLayout layout{};
    av_channel_layout_default(&layout, channels);
    const int made = swr_alloc_set_opts2(&p.sound,
                                         &layout,
                                         AV_SAMPLE_FMT_FLT,
                                         f.sample_rate,
                                         &layout,
                                         static_cast<AVSampleFormat>(f.format),
                                         f.sample_rate,
                                         0,
                                         nullptr);
    av_channel_layout_uninit(&layout);
    if (made < 0 || swr_init(p.sound) < 0) fail("samples that can be made floats", "others");
    p.sound_rate = f.sample_rate;
    p.sound_format = f.format;
    p.sound_channels = channels;
    audio.rate = f.sample_rate;
  }
  if (f.sample_rate != p.sound_rate || f.format != p.sound_format || channels != p.sound_channels)
    fail("sound of one rate", "of several");
  const auto have = static_cast<std::int64_t>(audio.samples.size());
  if (have + f.nb_samples > p.limits.most_samples) {
    p.fail(ErrorCode::kResources, fmt::format("at most {} samples", p.limits.most_samples), "more");
  }
  std::vector<float> mixed(static_cast<std::size_t>(f.nb_samples) *
                           static_cast<std::size_t>(channels));
  auto* to = reinterpret_cast<std::uint8_t*>(mixed.data());
  const int n = swr_convert(
      p.sound, &to, f.nb_samples, const_cast<const std::uint8_t**>(f.extended_data), f.nb_samples);
  for (int i = 0; i < n; ++i) {
    float sum = 0.0F;
    for (int c = 0; c < channels; ++c) sum += mixed[static_cast<std::size_t>(i * channels + c)];
    audio.samples.push_back(sum / static_cast<float>(channels));
  }
}

}  // namespace headscope::media

#endif
