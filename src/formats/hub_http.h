#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>

/// HTTP as the hub needs it: GET, with redirects that take no token along.
namespace headscope::hub {

struct Response {
  int status = 0;                              ///< 0: no answer
  std::map<std::string, std::string> headers;  ///< names in small letters
  std::string problem;                         ///< why the answer broke off; "" when it is whole
};

struct Request {
  std::string url;
  std::uint64_t offset = 0;  ///< asks for the bytes from here on
  std::string unchanged;     ///< ... provided that the content still has this ETag
  /// Called once before any byte of a final answer; false: its bytes are not wanted.
  std::function<bool(const Response&)> begin;
  std::function<void(std::string_view)> take;
  std::function<void()> idle;  ///< called now and then; may throw
};

class Http {
 public:
  /// The token goes to requests whose scheme, host and port are those of `endpoint`.
  Http(std::string endpoint, std::string token, int stall_s);
  Http(const Http&) = delete;
  Http& operator=(const Http&) = delete;
  ~Http();

  /// Follows at most ten redirects; from https only to https. What `take` throws comes out.
  /// Errors: kFormat (a redirect that leads nowhere).
  Response get(const Request& request);
  /// A name as part of a URL; slashes stay when asked.
  static std::string escaped(std::string_view text, bool keep_slashes);

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace headscope::hub
