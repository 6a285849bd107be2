#include "formats/hub_blob.h"

#ifdef HEADSCOPE_HUB

#include <fcntl.h>
#include <fmt/format.h>
#include <openssl/evp.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <memory>
#include <vector>

namespace headscope::hub {

namespace fs = std::filesystem;

Partial::Partial(fs::path path, const std::string& name) : path_(std::move(path)) {
  descriptor_ =
      files::Descriptor(::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666));
  if (descriptor_.get() < 0) files::fail(path_, "write", errno);
  if (::flock(descriptor_.get(), LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
    throw Error(ErrorCode::kResources,
                fmt::format("[{}] expected to be the only one to fetch {}, found another program "
                            "that does",
                            name,
                            path_.filename().string()));
  }
  struct stat status {};
  if (::fstat(descriptor_.get(), &status) != 0) files::fail(path_, "open", errno);
  size_ = static_cast<std::uint64_t>(status.st_size);
  if (::lseek(descriptor_.get(), 0, SEEK_END) < 0) files::fail(path_, "write", errno);
}

void Partial::append(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(descriptor_.get(), bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) files::fail(path_, "write", errno);
    size_ += static_cast<std::uint64_t>(written);
    bytes.remove_prefix(static_cast<std::size_t>(written));
  }
}

void Partial::restart() {
  if (::ftruncate(descriptor_.get(), 0) != 0 || ::lseek(descriptor_.get(), 0, SEEK_SET) < 0)
    files::fail(path_, "write", errno);
  size_ = 0;
}

void Partial::need_room(std::uint64_t size) const {
  std::error_code error;
  const fs::space_info space = fs::space(path_.parent_path(), error);
  const std::uint64_t missing = size - size_;
  if (error || space.available >= missing) return;
  throw Error(ErrorCode::kResources,
              fmt::format("[{}] expected {} bytes of free disk, found {}; HF_HOME puts the cache "
                          "elsewhere",
                          path_.parent_path().string(),
                          missing,
                          space.available));
}

std::string Partial::hash(bool sha256) const {
  const std::unique_ptr<EVP_MD_CTX, void (*)(EVP_MD_CTX*)> context(EVP_MD_CTX_new(),
                                                                   EVP_MD_CTX_free);
  const EVP_MD* kind = sha256 ? EVP_sha256() : EVP_sha1();
  bool good = context && EVP_DigestInit_ex(context.get(), kind, nullptr) == 1;
  if (!sha256) {  // git hashes a file behind a head of its own
    std::string head = fmt::format("blob {}", size_);
    head += '\0';
    good = good && EVP_DigestUpdate(context.get(), head.data(), head.size()) == 1;
  }
  std::vector<char> buffer(std::size_t{1} << 20);
  for (std::uint64_t at = 0; good && at < size_;) {
    const ssize_t got =
        ::pread(descriptor_.get(), buffer.data(), buffer.size(), static_cast<off_t>(at));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) files::fail(path_, "read", errno);
    if (got == 0) break;
    good = EVP_DigestUpdate(context.get(), buffer.data(), static_cast<std::size_t>(got)) == 1;
    at += static_cast<std::uint64_t>(got);
  }
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned size = 0;
  good = good && EVP_DigestFinal_ex(context.get(), digest.data(), &size) == 1;
  if (!good) throw Error(ErrorCode::kInternal, "[pull] OpenSSL cannot hash");
  std::string out;
  for (unsigned i = 0; i < size; ++i) out += fmt::format("{:02x}", digest[i]);
  return out;
}

void Partial::commit(const fs::path& path) {
  if (::fsync(descriptor_.get()) != 0) files::fail(path_, "write", errno);
  if (::rename(path_.c_str(), path.c_str()) != 0) files::fail(path, "write", errno);
}

void make_folders(const fs::path& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error) files::fail(path, "make the folder", error.value());
}

void link_blob(const fs::path& snapshot, const File& file) {
  const fs::path link = snapshot / file.path;
  make_folders(link.parent_path());
  fs::path target = fs::path("..") / ".." / "blobs" / file.hash;
  for (const char c : file.path) {
    if (c == '/') target = fs::path("..") / target;
  }
  std::error_code error;
  if (fs::read_symlink(link, error) == target && !error) return;
  // A link of another name takes the place of an old one at once.
  const fs::path fresh = link.string() + fmt::format(".{}.part", ::getpid());
  fs::create_symlink(target, fresh, error);
  if (error) files::fail(fresh, "link", error.value());
  fs::rename(fresh, link, error);
  if (error) files::fail(link, "link", error.value());
}

}  // namespace headscope::hub

#endif  // HEADSCOPE_HUB
