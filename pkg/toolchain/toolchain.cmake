# Tells CMake about the target: its compiler, and to look for headers, libraries
# and packages nowhere but in the sysroot. There's no C++ compiler so far; naming
# one all the same keeps CMake from taking the host's.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR @CPU@)
set(CMAKE_C_COMPILER @TCDIR@/bin/@TARGET@-gcc)
set(CMAKE_CXX_COMPILER @TCDIR@/bin/@TARGET@-g++)
set(CMAKE_FIND_ROOT_PATH @SYSROOT@)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
set(PKG_CONFIG_EXECUTABLE @TCDIR@/bin/@TARGET@-pkg-config CACHE FILEPATH "")
